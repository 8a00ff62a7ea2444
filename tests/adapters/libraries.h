/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Every adapter behind the header of its library, of which those are taken that are here; headers.c has it compiled
 * as C and as C++.
 */
#if __has_include(<zlib.h>)
#include <zlib.h>
#endif
#if __has_include(<png.h>)
#include <png.h>
#endif
#if __has_include(<brotli/encode.h>)
#include <brotli/decode.h>
#include <brotli/encode.h>
#endif
#define ZSTD_STATIC_LINKING_ONLY
#if __has_include(<zstd.h>)
#include <zstd.h>
#endif
#define LZ4F_STATIC_LINKING_ONLY
#if __has_include(<lz4frame.h>)
#include <lz4frame.h>
#endif
#if __has_include(<bzlib.h>)
#include <bzlib.h>
#endif
#if __has_include(<lzma.h>)
#include <lzma.h>
#endif
#define PCRE2_CODE_UNIT_WIDTH 8
#if __has_include(<pcre2.h>)
#include <pcre2.h>
#endif
#if __has_include(<gmp.h>)
#include <gmp.h>
#endif
#if __has_include(<protobuf-c/protobuf-c.h>)
#include <protobuf-c/protobuf-c.h>
#endif
#if __has_include(<expat.h>)
#include <expat.h>
#endif
#if __has_include(<cjson/cJSON.h>)
#include <cjson/cJSON.h>
#endif
#if __has_include(<jansson.h>)
#include <jansson.h>
#endif
#if __has_include(<sqlite3.h>)
#include <sqlite3.h>
#endif
#if __has_include(<nghttp2/nghttp2.h>)
#include <nghttp2/nghttp2.h>
#endif
#if __has_include(<uv.h>)
#include <uv.h>
#endif
#if __has_include(<duktape.h>)
#include <duktape.h>
#endif
#if __has_include(<event2/event.h>)
#include <event2/event.h>
#endif
#if __has_include(<openssl/crypto.h>)
#include <openssl/crypto.h>
#endif
#if __has_include(<curl/curl.h>)
#include <curl/curl.h>
#endif

#include <bufpool/adapters/brotli.h>
#include <bufpool/adapters/bzip2.h>
#include <bufpool/adapters/cjson.h>
#include <bufpool/adapters/duktape.h>
#include <bufpool/adapters/expat.h>
#include <bufpool/adapters/gmp.h>
#include <bufpool/adapters/jansson.h>
#include <bufpool/adapters/libcurl.h>
#include <bufpool/adapters/libevent.h>
#include <bufpool/adapters/liblzma.h>
#include <bufpool/adapters/libpng.h>
#include <bufpool/adapters/libuv.h>
#include <bufpool/adapters/lz4.h>
#include <bufpool/adapters/nghttp2.h>
#include <bufpool/adapters/openssl.h>
#include <bufpool/adapters/pcre2.h>
#include <bufpool/adapters/protobuf-c.h>
#include <bufpool/adapters/sqlite3.h>
#include <bufpool/adapters/zlib.h>
#include <bufpool/adapters/zstd.h>
