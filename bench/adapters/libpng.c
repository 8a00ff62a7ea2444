/* SPDX-License-Identifier: BSD-2-Clause
 *
 * libpng: icons of 48 x 48 pixels, written and read.
 */
#include "workload.h"

#include <png.h>

#include <bufpool/adapters/libpng.h>

#define SIDE 48

static unsigned char pixels[SIDE][SIDE * 4], file[SIDE * SIDE * 8];
static size_t file_size, at;

void bench_install(void)
{
}

static void on_error(png_structp png, png_const_charp what)
{
	(void)png;
	bench_fail(what);
}

static void write_bytes(png_structp png, png_bytep data, size_t n)
{
	(void)png;
	bench_expect(n <= sizeof(file) - at, "libpng: too large");
	memcpy(file + at, data, n);
	at += n;
}

static void flush(png_structp png)
{
	(void)png;
}

static void read_bytes(png_structp png, png_bytep out, size_t n)
{
	(void)png;
	bench_expect(n <= file_size - at, "libpng: too short");
	memcpy(out, file + at, n);
	at += n;
}

static void write_icon(void)
{
	png_structp png = bench_hooked ? bufpool_libpng_create_write(NULL, on_error, NULL, NULL) :
			  png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, on_error, NULL);
	png_infop info = png_create_info_struct(png);

	at = 0;
	png_set_write_fn(png, NULL, write_bytes, flush);
	png_set_IHDR(png, info, SIDE, SIDE, 8, PNG_COLOR_TYPE_RGBA, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
		     PNG_FILTER_TYPE_DEFAULT);
	png_write_info(png, info);
	for (int y = 0; y < SIDE; y++)
		png_write_row(png, pixels[y]);
	png_write_end(png, NULL);
	png_destroy_write_struct(&png, &info);
	file_size = at;
}

static void read_icon(void)
{
	png_structp png = bench_hooked ? bufpool_libpng_create_read(NULL, on_error, NULL, NULL) :
			  png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, on_error, NULL);
	png_infop info = png_create_info_struct(png);
	unsigned char row[SIDE * 4];

	at = 0;
	png_set_read_fn(png, NULL, read_bytes);
	png_read_info(png, info);
	for (int y = 0; y < SIDE; y++)
		png_read_row(png, row, NULL);
	png_read_end(png, NULL);
	png_destroy_read_struct(&png, &info, NULL);
	bench_expect(!memcmp(row, pixels[SIDE - 1], sizeof(row)), "libpng: a wrong row");
}

/* A disc on a gradient. */
static void prepare(void)
{
	for (int y = 0; y < SIDE; y++) {
		for (int x = 0; x < SIDE; x++) {
			const int dx = x - SIDE / 2, dy = y - SIDE / 2;
			const bool inside = dx * dx + dy * dy < SIDE * SIDE / 6;
			const unsigned char pixel[4] = { inside ? 200 : (unsigned char)(4 * x),
				(unsigned char)(3 * y), 90, inside ? 255 : 128 };

			memcpy(&pixels[y][4 * x], pixel, 4);
		}
	}
	write_icon();
}

static size_t lap_write(void)
{
	for (int i = 0; i < 10; i++)
		write_icon();
	return 10;
}

static size_t lap_read(void)
{
	for (int i = 0; i < 10; i++)
		read_icon();
	return 10;
}

const struct bench_workload bench_workloads[] = {
	{ "libpng-write-icons", "images", prepare, lap_write, 0, 0 },
	{ "libpng-read-icons", "images", prepare, lap_read, 0, 0 },
	{ 0 },
};
