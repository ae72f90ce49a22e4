/* Lets a vendor's library that looks in /sys and /dev/rngd alone look below $ROOTED instead.
   A test may not make device files: below $ROOTED plain files named npu... are shown as such. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static const char *moved(const char *path, char *buffer, size_t size) {
    const char *root = getenv("ROOTED");
    if (root == NULL || path == NULL) return path;
    if (strncmp(path, "/sys/", 5) != 0 && strncmp(path, "/dev/rngd", 9) != 0) return path;
    snprintf(buffer, size, "%s%s", root, path);
    return buffer;
}

int open64(const char *path, int flags, ...) {
    char buffer[4096];
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return REAL(open64)(moved(path, buffer, sizeof buffer), flags, mode);
}

DIR *opendir(const char *path) {
    char buffer[4096];
    return REAL(opendir)(moved(path, buffer, sizeof buffer));
}

int statx(int folder, const char *path, int flags, unsigned int mask, struct statx *out) {
    char buffer[4096];
    return REAL(statx)(folder, moved(path, buffer, sizeof buffer), flags, mask, out);
}

struct dirent64 *readdir64(DIR *folder) {
    struct dirent64 *entry = REAL(readdir64)(folder);
    if (entry != NULL && strncmp(entry->d_name, "npu", 3) == 0) entry->d_type = DT_CHR;
    return entry;
}
