/* SPDX-License-Identifier: BSD-2-Clause
 *
 * libpng's structures from a pool: a text is written as the pixels of an image and read again.
 */
#include <png.h>

#include <bufpool/adapters/libpng.h>
#include "codec.h"

#include <criterion/criterion.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 500

TestSuite(libpng, .timeout = 120);

/* Both are told of a lack of memory, and of nothing else, if the test is right. */
static void on_error(png_structp png, png_const_charp what)
{
	cr_assert(t_refused(), "libpng: %s", what);
	png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp what)
{
	(void)png;
	cr_assert(t_refused(), "libpng: %s", what);
}

static void write_bytes(png_structp png, png_bytep data, size_t n)
{
	struct t_job *job = png_get_io_ptr(png);

	cr_assert_leq(job->made + n, job->room);
	memcpy(job->out + job->made, data, n);
	job->made += n;
}

static void flush(png_structp png)
{
	(void)png;
}

static void read_bytes(png_structp png, png_bytep out, size_t n)
{
	struct t_job *job = png_get_io_ptr(png);

	cr_assert_leq(n, job->size);
	memcpy(out, job->in, n);
	job->in += n;
	job->size -= n;
}

static void write_image(png_structp png, png_infop info, const struct t_job *job)
{
	unsigned char row[WIDTH];

	png_set_IHDR(png, info, WIDTH, (png_uint_32)((job->size + WIDTH - 1) / WIDTH), 8, PNG_COLOR_TYPE_GRAY,
		     PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
	png_write_info(png, info);
	for (size_t at = 0; at < job->size; at += WIDTH) {
		memset(row, 0, WIDTH);
		memcpy(row, job->in + at, job->size - at < WIDTH ? job->size - at : WIDTH);
		png_write_row(png, row);
	}
	png_write_end(png, info);
}

static bool pack(struct t_job *job)
{
	png_structp volatile png;
	png_infop volatile info = NULL;
	volatile bool done = false;

	png = job->hooked ? bufpool_libpng_create_write(NULL, on_error, on_warning, job->pool) :
	      png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, on_error, on_warning);
	job->made = 0;
	if (!png)
		return false;
	if (!setjmp(png_jmpbuf(png))) {
		png_set_write_fn(png, job, write_bytes, flush);
		info = png_create_info_struct(png);
		if (info) {
			write_image(png, info, job);
			done = true;
		}
	}
	png_destroy_write_struct((png_structpp)&png, (png_infopp)&info);
	return done;
}

/* The last row was filled up with zeros, of which the text has none. */
static size_t read_image(png_structp png, png_infop info, unsigned char *out, size_t room)
{
	size_t size;

	png_read_info(png, info);
	cr_assert_eq(png_get_image_width(png, info), WIDTH);
	size = WIDTH * (size_t)png_get_image_height(png, info);
	cr_assert_leq(size, room);
	for (size_t at = 0; at < size; at += WIDTH)
		png_read_row(png, out + at, NULL);
	png_read_end(png, info);
	while (size > 0 && !out[size - 1])
		size--;
	return size;
}

static bool unpack(struct t_job *job)
{
	png_structp volatile png;
	png_infop volatile info = NULL;
	volatile bool done = false;

	png = job->hooked ? bufpool_libpng_create_read(NULL, on_error, on_warning, job->pool) :
	      png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, on_error, on_warning);
	if (!png)
		return false;
	if (!setjmp(png_jmpbuf(png))) {
		png_set_read_fn(png, job, read_bytes);
		info = png_create_info_struct(png);
		if (info) {
			job->made = read_image(png, info, job->out, job->room);
			done = true;
		}
	}
	png_destroy_read_struct((png_structpp)&png, (png_infopp)&info, NULL);
	return done;
}

static const struct t_codec codec = { pack, unpack, 8, 5 };

Test(libpng, images_are_what_they_are_without_hooks)
{
	t_codec_same(&codec);
}

Test(libpng, a_pool_of_ones_own)
{
	t_codec_own_pool(&codec);
}

Test(libpng, every_refusal_is_reported)
{
	t_codec_refusals(&codec);
}

Test(libpng, png_malloc_gives_blocks_of_the_pool)
{
	png_structp png;
	int64_t out;
	void *p;

	t_begin();
	png = bufpool_libpng_create_read(NULL, NULL, NULL, NULL);
	cr_assert_not_null(png);
	out = t_out();
	p = png_malloc(png, 1000);
	cr_assert(p && t_out() == out + 1);
	png_free(png, p);
	cr_assert_eq(t_out(), out);
	png_destroy_read_struct(&png, NULL, NULL);
	t_end();
}
