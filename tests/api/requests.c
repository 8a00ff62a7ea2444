/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See requests.h. Each request is a real read of 64 KiB, from a file in memory, at an offset of its own, so that all
 * headers differ. What is measured is the process, the array of headers included.
 */
#include "requests.h"

#include "support.h"

#include <bufpool/bytes.h>
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { READ = 65536, HEADER = 40, FILE_BYTES = 1 << 20 };

static unsigned char *content;

static int make_file(void)
{
	const int fd = memfd_create("requests", MFD_CLOEXEC);

	cr_assert(fd >= 0 && !ftruncate(fd, FILE_BYTES));
	content = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert_neq(content, MAP_FAILED);
	t_fill(content, FILE_BYTES, 17);
	return fd;
}

/* Bytes differ from one offset to the next; 40 bytes name it. */
static size_t offset_of(size_t request)
{
	return request * 7919 % (FILE_BYTES - READ);
}

static struct bufpool_bytes serve(int fd, size_t request)
{
	const size_t at = request % 3 * (READ - HEADER) / 2; /* at the beginning, in the middle, at the end */
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	struct bufpool_bytes message, header;
	void *room = bufpool_buf_extend(&b, READ);

	cr_assert_not_null(room);
	cr_assert_eq(pread(fd, room, READ, (off_t)offset_of(request)), READ);
	cr_assert_eq(bufpool_bytes_freeze(&message, &b), 0);
	cr_assert_eq(bufpool_bytes_sub(&header, &message, at, HEADER), 0);
	bufpool_bytes_release(&message);
	return header;
}

void expect_requests_do_not_pin(size_t count, size_t most)
{
	const int fd = make_file();
	const size_t before = t_rss();
	struct bufpool_bytes *headers = calloc(count, sizeof(*headers));
	struct bufpool_stats s;

	cr_assert_not_null(headers);
	for (size_t i = 0; i < count; i++)
		headers[i] = serve(fd, i);
	s = t_stats();
	cr_assert_eq(s.referenced_bytes, count * HEADER);
	cr_assert_leq(s.pinned_bytes, BUFPOOL_PIN_RATIO * s.referenced_bytes + BUFPOOL_PIN_SLACK);
	cr_assert_lt(t_rss(), before + most, "%zu requests hold %zu KiB", count, (t_rss() - before) / 1024);
	for (size_t i = 0; i < count; i++) {
		const unsigned char *was = content + offset_of(i) + i % 3 * (READ - HEADER) / 2;

		cr_assert(headers[i].len == HEADER && !memcmp(headers[i].data, was, HEADER), "request %zu", i);
		bufpool_bytes_release(&headers[i]);
	}
	s = t_stats();
	cr_assert(!s.referenced_bytes && !s.pinned_bytes);
	free(headers);
	close(fd);
}
