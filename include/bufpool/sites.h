/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Where blocks are acquired, by file and line, for the leak report (leaks:true): bufpool.h includes this.
 *
 * Each call through one of these macros leaves an ELF note (.note.bufpool) in the program's file: a label before the
 * call, the line, the file's name, as SystemTap's probes do it. No instruction is added; the notes are read when a
 * report is printed. The functions behind the macros are called by their names in parentheses, (bufpool_acquire)(n),
 * and have no note, nor have calls through pointers: the report then has the function and the offset of the call.
 *
 * In C++ the notes are left only if BUFPOOL_SITES is defined before the header is included: macros with a statement
 * in them can't stand outside of functions, where C++ allows calls. BUFPOOL_NO_SITES and BUFPOOL_NO_MACROS leave none
 * in C either.
 *
 * With -ffunction-sections and --gc-sections a function that has a note is kept.
 */
#ifndef BUFPOOL_SITES_H
#define BUFPOOL_SITES_H

#if defined(__GNUC__) && defined(__ELF__) && !defined(BUFPOOL_NO_MACROS) && !defined(BUFPOOL_NO_SITES) && \
	(!defined(__cplusplus) || defined(BUFPOOL_SITES))

#define BUFPOOL_TEXT_OF_(x) #x
#define BUFPOOL_TEXT_(x) BUFPOOL_TEXT_OF_(x)

/* inline: not to count as long where the compiler decides what to inline. */
#if __GNUC__ >= 9 && !defined(__clang__)
#define BUFPOOL_ASM_ __asm__ __inline__ __volatile__
#else
#define BUFPOOL_ASM_ __asm__ __volatile__
#endif

/* "?": in the group of the function, and gone with it. Type 1: distance to the label, line, file. The call itself
 * stands outside of the statement, so that the compiler still sees who drops its value. */
#define BUFPOOL_SITE_(...)                                                                       \
	(__extension__({                                                                         \
		 BUFPOOL_ASM_("990:\n"                                                           \
			      "\t.pushsection .note.bufpool,\"a?\",\"note\"\n"                   \
			      "\t.balign 4\n"                                                    \
			      "\t.4byte 8, 992f-991f, 1\n"                                       \
			      "\t.asciz \"bufpool\"\n"                                           \
			      "991:\t.4byte 990b-., " BUFPOOL_TEXT_(__LINE__) "\n"               \
			      "\t.asciz \"" __FILE__ "\"\n"                                      \
			      "992:\t.balign 4\n"                                                \
			      "\t.popsection");                                                  \
	 }),                                                                                     \
	 __VA_ARGS__)

#define bufpool_acquire_zeroed(...) BUFPOOL_SITE_((bufpool_acquire_zeroed)(__VA_ARGS__))
#define bufpool_acquire_array(...) BUFPOOL_SITE_((bufpool_acquire_array)(__VA_ARGS__))
#define bufpool_acquire_aligned(...) BUFPOOL_SITE_((bufpool_acquire_aligned)(__VA_ARGS__))
#define bufpool_acquire_at_least(...) BUFPOOL_SITE_((bufpool_acquire_at_least)(__VA_ARGS__))
#define bufpool_acquire_many(...) BUFPOOL_SITE_((bufpool_acquire_many)(__VA_ARGS__))
#define bufpool_acquire_from(...) BUFPOOL_SITE_((bufpool_acquire_from)(__VA_ARGS__))
#define bufpool_resize(...) BUFPOOL_SITE_((bufpool_resize)(__VA_ARGS__))
#define bufpool_resize_used(...) BUFPOOL_SITE_((bufpool_resize_used)(__VA_ARGS__))
#define bufpool_strndup(...) BUFPOOL_SITE_((bufpool_strndup)(__VA_ARGS__))
#define bufpool_memdup(...) BUFPOOL_SITE_((bufpool_memdup)(__VA_ARGS__))

#else
#define BUFPOOL_SITE_(...) (__VA_ARGS__)
#endif

#endif
