/* userfault.c: memory that is not all there yet; see userfault.h. */
#include "userfault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int vs_userfault_new(void)
{
    /* Not UFFD_USER_MODE_ONLY: guest memory is also read by the kernel for us, when a frame is sent to a TAP. */
    long fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    struct uffdio_api api = {.api = UFFD_API};
    if (fd < 0)
        return -errno;
    if (ioctl((int)fd, UFFDIO_API, &api) != 0) {
        int error = -errno;
        close((int)fd);
        return error;
    }
    return (int)fd;
}

int vs_userfault_watch(int fd, struct vs_guest_map *map)
{
    size_t len;
    uint8_t *base = vs_guest_map_range(map, &len);
    struct uffdio_register r = {.range = {.start = (uintptr_t)base, .len = len},
                                .mode = UFFDIO_REGISTER_MODE_MISSING};
    /* Whole huge pages would come and go where the front-end puts small ones. */
    (void)madvise(base, len, MADV_NOHUGEPAGE);
    return ioctl(fd, UFFDIO_REGISTER, &r) == 0 ? 0 : -errno;
}

void vs_userfault_unwatch(int fd, struct vs_guest_map *map)
{
    size_t len;
    uint8_t *base = vs_guest_map_range(map, &len);
    struct uffdio_range r = {.start = (uintptr_t)base, .len = len};
    (void)ioctl(fd, UFFDIO_UNREGISTER, &r); /* it fails for what was never watched */
}
