/* words.c: reading command lines; see command.h. */
#include <stdio.h>
#include <stdlib.h>

#include "command.h"

int load_words_split(struct load_words *w, char *line)
{
    *w = (struct load_words){.n_plain = 0};
    char *rest = line;
    for (char *word; (word = strtok_r(rest, " \t\r\n", &rest)) != NULL;) {
        char *equal = strchr(word, '=');
        if (w->n_plain == 8 || w->n_keys == 32)
            return -1;
        if (equal == NULL) {
            w->plain[w->n_plain++] = word;
            continue;
        }
        *equal = '\0';
        w->key[w->n_keys] = word;
        w->value[w->n_keys++] = equal + 1;
    }
    return 0;
}

const char *load_words_get(struct load_words *w, const char *key)
{
    const char *found = NULL;
    for (unsigned i = 0; i < w->n_keys; i++) {
        if (strcmp(w->key[i], key) != 0)
            continue;
        w->used[i] = true;
        found = w->value[i];
    }
    return found;
}

const char *load_words_unknown(const struct load_words *w)
{
    for (unsigned i = 0; i < w->n_keys; i++)
        if (!w->used[i])
            return w->key[i];
    return NULL;
}

bool load_read_number(const char *text, uint64_t most, uint64_t *to)
{
    char *end = NULL;
    if (text == NULL || *text < '0' || *text > '9')
        return false;
    *to = strtoull(text, &end, 0);
    return *end == '\0' && *to <= most;
}

bool load_read_real(const char *text, double *to)
{
    char *end = NULL;
    if (text == NULL)
        return false;
    *to = strtod(text, &end);
    return end != text && *end == '\0' && *to >= 0 && *to < 1e12;
}

bool load_read_ip(const char *text, uint32_t *to)
{
    unsigned a, b, c, d;
    char more;
    if (text == NULL || sscanf(text, "%u.%u.%u.%u%c", &a, &b, &c, &d, &more) != 4 || (a | b | c | d) > 255)
        return false;
    *to = a << 24 | b << 16 | c << 8 | d;
    return true;
}

bool load_read_mac(const char *text, uint8_t to[6])
{
    char more;
    return text != NULL && sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx%c", &to[0], &to[1], &to[2], &to[3],
                                  &to[4], &to[5], &more) == 6;
}
