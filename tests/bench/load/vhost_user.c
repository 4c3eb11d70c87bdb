/* vhost_user.c: sending and receiving messages; see vhost_user.h. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vhost_user.h"

enum { HEADER = 12, MAX_PAYLOAD = sizeof(struct vu_memory) };

static int make_address(const char *path, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address->sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address->sun_path, path, strlen(path) + 1);
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

int vu_listen(const char *path)
{
    struct sockaddr_un address;
    int fd = make_address(path, &address);
    if (fd < 0)
        return -1;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

int vu_connect(const char *path)
{
    struct sockaddr_un address;
    int fd = make_address(path, &address);
    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

int vu_send(int socket, uint32_t request, uint32_t flags, const void *payload, uint32_t size, int fd)
{
    uint32_t header[3] = {request, flags | VU_VERSION, size};
    struct iovec parts[2] = {{header, HEADER}, {(void *)(uintptr_t)payload, size}};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = size == 0 ? 1 : 2};
    if (fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        *c = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    if (sent == HEADER + (ssize_t)size)
        return 0;
    errno = sent < 0 ? errno : EPROTO;
    return -1;
}

static int read_all(int socket, void *to, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = recv(socket, (char *)to + done, size - done, 0);
        if (n <= 0) {
            errno = n == 0 ? EPROTO : errno;
            return -1;
        }
        done += (size_t)n;
    }
    return 0;
}

int vu_receive(int socket, struct vu_message *m)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * VU_MAX_FDS)];
        struct cmsghdr align;
    } control;
    uint32_t header[3];
    struct iovec part = {header, HEADER};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    memset(m->fds, 0xff, sizeof m->fds);
    ssize_t n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL);
    struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (c != NULL && c->cmsg_type == SCM_RIGHTS)
        memcpy(m->fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
    if (n != HEADER || header[2] > MAX_PAYLOAD) {
        errno = n < 0 ? errno : EPROTO;
        return -1;
    }
    m->request = header[0];
    m->flags = header[1];
    m->size = header[2];
    return read_all(socket, &m->u64, m->size);
}

int vu_ask(int socket, uint32_t request, const void *payload, uint32_t size, int fd,
           struct vu_message *answer)
{
    if (vu_send(socket, request, 0, payload, size, fd) != 0 || vu_receive(socket, answer) != 0)
        return -1;
    errno = EPROTO;
    return answer->request == request ? 0 : -1;
}

int vu_tell(int socket, bool ack, uint32_t request, const void *payload, uint32_t size, int fd)
{
    struct vu_message answer;
    if (vu_send(socket, request, ack ? VU_NEED_REPLY : 0, payload, size, fd) != 0)
        return -1;
    if (!ack)
        return 0;
    if (vu_receive(socket, &answer) != 0)
        return -1;
    errno = EPROTO;
    return answer.request == request && answer.u64 == 0 ? 0 : -1;
}
