/* Traffic tool of the test guest, run on the host too: TCP pipes and numbered UDP datagrams whose content is known.
 *
 *   probe listen PORT               one TCP connection: what comes goes to standard output
 *   probe connect ADDRESS PORT      standard input goes there; ends when the other side has read all
 *   probe stream ADDRESS PORT SIZE GAP_US   datagrams 0, 1, 2... until SIGTERM; then prints how many
 *   probe hold PORT FILE            leaves all datagrams in the socket until FILE is there; then reads and judges them
 *
 * Datagrams of `stream` carry no checksum, and `hold` reads late: what it judges is what the network device wrote into
 * the guest's memory, however long ago, and nothing on the way sorts out what is damaged.
 *
 * Prints one line of name=number words. Exit code: 0 done, 1 a call failed (its name and reason are printed), 2 usage.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    PIECE = 1 << 16,
    LARGEST = 65000,
    HOLD_BYTES = 192 << 20,
    PATIENCE = 600, /* times 0.1 s until somebody listens */
};

static volatile sig_atomic_t stopped;

static void stop(int number)
{
    (void)number;
    stopped = 1;
}

static _Noreturn void fail(const char *what)
{
    printf("probe: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void pause_us(long us)
{
    struct timespec gap = {us / 1000000, us % 1000000 * 1000};

    nanosleep(&gap, NULL);
}

static struct sockaddr_in address(const char *host, const char *port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};

    if (inet_pton(AF_INET, host, &to.sin_addr) != 1) {
        errno = EINVAL;
        fail(host);
    }
    return to;
}

static int bound(int type, const char *port)
{
    struct sockaddr_in here = address("0.0.0.0", port);
    int fd = socket(AF_INET, type, 0), one = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
        bind(fd, (struct sockaddr *)&here, sizeof here))
        fail("bind");
    return fd;
}

/* Everything from one descriptor to the other. */
static void copy(int from, int to)
{
    static char piece[PIECE];
    ssize_t got, put;

    while ((got = read(from, piece, sizeof piece)) > 0)
        for (ssize_t done = 0; done < got; done += put)
            if ((put = write(to, piece + done, (size_t)(got - done))) < 0)
                fail("write");
    if (got < 0)
        fail("read");
}

static int do_listen(const char *port)
{
    int door = bound(SOCK_STREAM, port), link;

    if (listen(door, 1) || (link = accept(door, NULL, NULL)) < 0)
        fail("accept");
    copy(link, STDOUT_FILENO);
    close(link);
    return 0;
}

static int do_connect(const char *host, const char *port)
{
    struct sockaddr_in to = address(host, port);
    char end;

    for (int attempt = 0;; attempt++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        if (!connect(fd, (struct sockaddr *)&to, sizeof to)) {
            copy(STDIN_FILENO, fd);
            if (shutdown(fd, SHUT_WR) || read(fd, &end, 1) != 0)
                fail("shutdown");
            return 0;
        }
        if (attempt == PATIENCE)
            fail("connect");
        close(fd);
        pause_us(100000);
    }
}

/* Datagram `number`: the number, then bytes of a generator that starts from it. */
static void fill(uint8_t *data, size_t size, uint32_t number)
{
    uint32_t word = number * 2654435761u + 1, order = htonl(number);

    memcpy(data, &order, sizeof order);
    for (size_t at = sizeof order; at < size; at++) {
        if (at % sizeof word == 0) {
            word ^= word << 13;
            word ^= word >> 17;
            word ^= word << 5;
        }
        data[at] = (uint8_t)(word >> at % sizeof word * 8);
    }
}

static int do_stream(const char *host, const char *port, const char *bytes, const char *gap)
{
    static uint8_t data[LARGEST];
    struct sockaddr_in to = address(host, port);
    size_t size = (size_t)atoi(bytes);
    int fd = socket(AF_INET, SOCK_DGRAM, 0), one = 1;
    uint32_t number = 0;

    if (size < sizeof number || size > sizeof data) {
        errno = EMSGSIZE;
        fail(bytes);
    }
    if (setsockopt(fd, SOL_SOCKET, SO_NO_CHECK, &one, sizeof one))
        fail("SO_NO_CHECK");
    for (; !stopped; number++) {
        fill(data, size, number);
        /* ENOBUFS and an unreachable host are losses like others: the receiver counts. */
        (void)!sendto(fd, data, size, 0, (struct sockaddr *)&to, sizeof to);
        pause_us(atol(gap));
    }
    printf("sent=%u\n", number);
    return 0;
}

static int do_hold(const char *port, const char *file)
{
    static uint8_t data[LARGEST], good[LARGEST];
    int fd = bound(SOCK_DGRAM, port), size = HOLD_BYTES;
    uint32_t number, next = 0, first = 0, received = 0, corrupt = 0, gaps = 0, missing = 0, longest = 0,
                     late = 0;
    ssize_t got;

    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
        fail("SO_RCVBUFFORCE");
    while (access(file, F_OK))
        pause_us(50000);
    for (; (got = recv(fd, data, sizeof data, MSG_DONTWAIT)) >= 0; received++) {
        memcpy(&number, data, sizeof number);
        number = ntohl(number);
        fill(good, (size_t)got, number);
        if (got < (ssize_t)sizeof number || memcmp(data, good, (size_t)got)) {
            corrupt++;
            continue;
        }
        if (!received)
            next = first = number;
        if (number < next) {
            late++;
            continue;
        }
        if (number > next) {
            gaps++;
            missing += number - next;
            longest = number - next > longest ? number - next : longest;
        }
        next = number + 1;
    }
    printf("received=%u corrupt=%u first=%u next=%u missing=%u gaps=%u longest=%u late=%u\n", received,
           corrupt, first, next, missing, gaps, longest, late);
    return 0;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = stop};
    const char *verb = argc > 1 ? argv[1] : "";

    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (!strcmp(verb, "listen") && argc == 3)
        return do_listen(argv[2]);
    if (!strcmp(verb, "connect") && argc == 4)
        return do_connect(argv[2], argv[3]);
    if (!strcmp(verb, "stream") && argc == 6)
        return do_stream(argv[2], argv[3], argv[4], argv[5]);
    if (!strcmp(verb, "hold") && argc == 4)
        return do_hold(argv[2], argv[3]);
    fputs("usage: probe listen|connect|stream|hold ...\n", stderr);
    return 2;
}
