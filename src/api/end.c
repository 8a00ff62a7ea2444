/* SPDX-License-Identifier: BSD-2-Clause */
#include "api/end.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int bp_end_open(const char *path)
{
	return path[0] == '\0' ? STDERR_FILENO : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
}

void bp_end_close(int fd)
{
	if (fd != STDERR_FILENO)
		close(fd);
}

bool bp_end_is_json(const char *path)
{
	size_t n = strlen(path);
	return n >= 5 && strcmp(path + n - 5, ".json") == 0;
}

void bp_end_write(void *ctx, const char *text)
{
	bp_os_write(*(int *)ctx, text, strlen(text));
}
