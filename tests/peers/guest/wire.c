/* Frames and connections of the test guest that runs the project; `relay` runs on the host too.
 *
 *   wire relay FROM TO     every connection to FROM goes on to TO; each is unix:PATH or tcp:ADDRESS:PORT
 *   wire reflect DEVICE    each frame that comes in goes back with its addresses changed round, nothing else touched
 *   wire inject DEVICE     standard input holds virtio-net header and frame: handed to the device as its kernel would
 *
 * relay and reflect run until they are ended. Exit code: 0 done, 1 a call failed (its name and reason are printed), 2 usage.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    PIECE = 1 << 16,
    LARGEST = 1 << 16,
    BACKLOG = 64,
    SOCKET_BYTES = 8 << 20,
};

struct where {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_un un;
    } at;
    socklen_t size;
};

static _Noreturn void fail(const char *what)
{
    printf("wire: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct where place(const char *text)
{
    struct where to = {.size = 0};
    char host[64];
    unsigned port;

    if (!strncmp(text, "unix:", 5) && strlen(text + 5) < sizeof to.at.un.sun_path) {
        to.at.un.sun_family = AF_UNIX;
        memcpy(to.at.un.sun_path, text + 5, strlen(text + 5));
        to.size = sizeof to.at.un;
        return to;
    }
    to.at.in.sin_family = AF_INET;
    if (sscanf(text, "tcp:%63[^:]:%u", host, &port) != 2 || port > UINT16_MAX ||
        inet_pton(AF_INET, host, &to.at.in.sin_addr) != 1) {
        errno = EINVAL;
        fail(text);
    }
    to.at.in.sin_port = htons((uint16_t)port);
    to.size = sizeof to.at.in;
    return to;
}

static void put_all(int fd, const char *data, ssize_t size)
{
    for (ssize_t put; size > 0; data += put, size -= put)
        if ((put = write(fd, data, (size_t)size)) < 0)
            exit(0); /* the other end has gone: so does the connection */
}

/* Both directions until both have ended. */
static void splice_both(int one, int other)
{
    static char piece[PIECE];
    struct pollfd ends[2] = {{.fd = one, .events = POLLIN}, {.fd = other, .events = POLLIN}};

    for (int open = 2; open > 0;) {
        if (poll(ends, 2, -1) < 0)
            return;
        for (int i = 0; i < 2; i++) {
            int to = i == 0 ? other : one;
            ssize_t got;

            if (!ends[i].revents)
                continue;
            got = read(ends[i].fd, piece, sizeof piece);
            if (got > 0) {
                put_all(to, piece, got);
                continue;
            }
            if (got < 0)
                return;
            shutdown(to, SHUT_WR);
            ends[i].fd = -1;
            open--;
        }
    }
}

static _Noreturn void do_relay(const char *from, const char *to)
{
    struct where here = place(from), there = place(to);
    int door = socket(here.at.any.sa_family, SOCK_STREAM, 0), one = 1;

    signal(SIGCHLD, SIG_IGN);
    if (here.at.any.sa_family == AF_UNIX)
        unlink(here.at.un.sun_path);
    if (door < 0 || setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
        bind(door, &here.at.any, here.size) || listen(door, BACKLOG))
        fail(from);
    for (;;) {
        int link = accept(door, NULL, NULL);

        if (link < 0)
            continue;
        if (fork() == 0) {
            int onward = socket(there.at.any.sa_family, SOCK_STREAM, 0);

            close(door);
            if (onward >= 0 && !connect(onward, &there.at.any, there.size))
                splice_both(link, onward);
            exit(0);
        }
        close(link);
    }
}

static int packet_socket(const char *device)
{
    struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    int fd = socket(AF_PACKET, SOCK_RAW, 0), size = SOCKET_BYTES;

    at.sll_ifindex = (int)if_nametoindex(device);
    if (fd < 0 || at.sll_ifindex == 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) ||
        setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) ||
        bind(fd, (struct sockaddr *)&at, sizeof at))
        fail(device);
    return fd;
}

static _Noreturn void do_reflect(const char *device)
{
    static uint8_t frame[LARGEST];
    int fd = packet_socket(device);
    struct sockaddr_ll from;
    uint8_t address[ETH_ALEN];
    ssize_t got;

    for (;;) {
        socklen_t size = sizeof from;

        got = recvfrom(fd, frame, sizeof frame, 0, (struct sockaddr *)&from, &size);
        if (got < ETH_HLEN || from.sll_pkttype == PACKET_OUTGOING)
            continue; /* also ENETDOWN while the device is taken away */
        memcpy(address, frame, ETH_ALEN);
        memcpy(frame, frame + ETH_ALEN, ETH_ALEN);
        memcpy(frame + ETH_ALEN, address, ETH_ALEN);
        (void)!send(fd, frame, (size_t)got, 0);
    }
}

static int do_inject(const char *device)
{
    static uint8_t data[LARGEST];
    int fd = packet_socket(device), one = 1;
    size_t size = 0;
    ssize_t got;

    while ((got = read(STDIN_FILENO, data + size, sizeof data - size)) > 0)
        size += (size_t)got;
    if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one))
        fail("PACKET_VNET_HDR");
    if (send(fd, data, size, 0) != (ssize_t)size)
        fail("send");
    return 0;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";

    signal(SIGPIPE, SIG_IGN);
    if (!strcmp(verb, "relay") && argc == 4)
        do_relay(argv[2], argv[3]);
    if (!strcmp(verb, "reflect") && argc == 3)
        do_reflect(argv[2]);
    if (!strcmp(verb, "inject") && argc == 3)
        return do_inject(argv[2]);
    fputs("usage: wire relay|reflect|inject ...\n", stderr);
    return 2;
}
