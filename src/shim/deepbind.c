/* SPDX-License-Identifier: BSD-2-Clause
 *
 * dlopen with RTLD_DEEPBIND gives a library glibc's malloc instead of the one that the rest of the process uses; the first
 * block that crosses over crashes, far from the cause. No preloaded malloc can mend that (glibc has had no malloc hooks
 * since 2.34), so this names the library while there is time, and passes the call on.
 *
 * What is unusual: the real dlopen looks at its return address to know whose DT_RUNPATH to search. It must be entered by a
 * jump, as if the program had called it: a tail call, which the optimiser has to make in every build.
 */
#include <dlfcn.h>
#include <unistd.h>

#include "shim/shim.h"
#include "sys/text.h"

static void warn(const char *file)
{
	char line[512];
	struct bp_text t = BP_TEXT_ON(line);
	bp_text_add(&t, "bufpool: ");
	bp_text_add(&t, file == NULL ? "the program" : file);
	bp_text_add(&t, " is opened with RTLD_DEEPBIND: it gets glibc's malloc, and blocks that cross will crash\n");
	bp_os_write(STDERR_FILENO, line, t.length);
}

typedef void *opener(const char *file, int mode);

static opener *real(void)
{
	static opener *_Atomic found;
	opener *now = atomic_load_explicit(&found, memory_order_relaxed); /* the same for everybody who asks */
	if (now == NULL) {
		now = (opener *)dlsym(RTLD_NEXT, "dlopen");
		atomic_store_explicit(&found, now, memory_order_relaxed);
	}
	return now;
}

BP_EXPORT __attribute__((optimize("O2", "omit-frame-pointer"))) void *dlopen(const char *file, int mode)
{
	if (bp_unlikely((mode & RTLD_DEEPBIND) != 0))
		warn(file);
	return real()(file, mode);
}
