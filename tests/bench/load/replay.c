/* replay.c: frames from a file, to be sent as they are; see command.h. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "command.h"

struct list {
    struct load_frame *frame;
    uint32_t n, room, longest;
};

static bool add(struct list *l, const uint8_t *bytes, uint32_t length)
{
    if (length < 14 || length > l->longest)
        return false;
    if (l->n == l->room) {
        l->room = l->room == 0 ? 256 : 2 * l->room;
        struct load_frame *more = realloc(l->frame, l->room * sizeof *more);
        if (more == NULL)
            return false;
        l->frame = more;
    }
    uint8_t *copy = malloc(length);
    if (copy == NULL)
        return false;
    memcpy(copy, bytes, length);
    l->frame[l->n++] = (struct load_frame){copy, length};
    return true;
}

/* libpcap's file format, of this machine's byte order; micro- and nanoseconds differ in what is not looked at. */
static const char *read_pcap(FILE *file, struct list *l, uint8_t *buffer)
{
    uint32_t header[6], record[4];
    if (fread(header, sizeof header, 1, file) != 1 || header[5] != 1)
        return "the pcap file must have Ethernet frames";
    while (fread(record, sizeof record, 1, file) == 1)
        if (record[2] > LOAD_MAX_FRAME || fread(buffer, record[2], 1, file) != 1 ||
            !add(l, buffer, record[2]))
            return "a frame of the pcap file is too long or cut off";
    return NULL;
}

static const char *read_hex(FILE *file, struct list *l, uint8_t *buffer)
{
    uint32_t length = 0;
    int digit, half = -1;
    do {
        digit = fgetc(file);
        if (digit == '\n' || digit == EOF) {
            if (half >= 0 || (length != 0 && !add(l, buffer, length)))
                return "a line of the file is not a frame in hex digits";
            length = 0;
        } else if (isxdigit(digit) && length < LOAD_MAX_FRAME) {
            int value = digit <= '9' ? digit - '0' : (digit | 32) - 'a' + 10;
            if (half >= 0)
                buffer[length++] = (uint8_t)(half << 4 | value);
            half = half >= 0 ? -1 : value;
        } else if (!isspace(digit) && digit != ':') {
            return "a line of the file is not a frame in hex digits";
        }
    } while (digit != EOF);
    return NULL;
}

struct load_frame *load_read_frames(const char *path, uint32_t longest, uint32_t *count, const char **why)
{
    static uint8_t buffer[LOAD_MAX_FRAME];
    struct list l = {.longest = longest};
    uint32_t magic = 0;
    FILE *file = fopen(path, "rb");
    *why = "the file cannot be read";
    if (file == NULL)
        return NULL;
    bool pcap = fread(&magic, sizeof magic, 1, file) == 1 && (magic == 0xa1b2c3d4 || magic == 0xa1b23c4d);
    rewind(file);
    *why = pcap ? read_pcap(file, &l, buffer) : read_hex(file, &l, buffer);
    fclose(file);
    if (*why == NULL && l.n == 0)
        *why = "the file has no frames";
    for (uint32_t i = 0; *why != NULL && i < l.n; i++)
        free((void *)(uintptr_t)l.frame[i].bytes);
    if (*why != NULL)
        free(l.frame);
    *count = l.n;
    return *why == NULL ? l.frame : NULL;
}
