/* Looks for a moment in which a process of somebody else's can be taken over while it is set up.
 *   tracer self PROGRAM WORD...  runs the program and attacks its first child, with the ids it has itself
 *   tracer root PROGRAM WORD...  the same, with whatever ids the child takes on the way to execve
 * Until the child has executed something, ptrace(2) and its /proc files are tried as fast as they can be. Prints, as
 * "NAME COUNT": tries; "early", what worked before the child began (it is still in its maker's session: it has done
 * nothing and waits for its id maps); "late", what worked between then and execve; "after", what worked once it was
 * the program: the control, for the same attack then succeeds. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static long tries, early, late, after;
static char what_late[256];

static int read_file(const char *path, char *text, size_t size) {
	int file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0) return -1;
	ssize_t length = read(file, text, size - 1);
	close(file);
	if (length < 0) return -1;
	text[length] = 0;
	return (int)length;
}

/* 0: not begun, 1: being set up, 2: the program runs, 3: gone. The kernel's own mark of a process that was forked and
 * has not executed anything goes in the middle of execve(2), before its memory and descriptors can be seen again. */
static int stage(pid_t child) {
	enum { FORKED_AND_NOT_EXECUTED = 0x40 }; /* PF_FORKNOEXEC in linux/sched.h; field 9 of proc_pid_stat(5) */
	char path[64], text[1024];
	int session;
	unsigned flags;
	snprintf(path, sizeof path, "/proc/%d/stat", child);
	if (read_file(path, text, sizeof text) <= 0) return 3;
	char *end = strrchr(text, ')');
	char state;
	if (!end || sscanf(end + 1, " %c %*d %*d %d %*d %*d %u", &state, &session, &flags) != 3) return 3;
	if (state == 'Z' || state == 'X') return 3;
	if (!(flags & FORKED_AND_NOT_EXECUTED)) return 2;
	return session == child;
}

/* A success counts as late only when the child had begun before the try, and was not the program after it. */
static void count(pid_t child, int before, const char *what) {
	int now = stage(child);
	if (now == 3) return;
	if (now == 2) after += before == 2;
	else if (before == 1) late++, snprintf(what_late, sizeof what_late, "%s", what);
	else early++;
}

static void try_all(pid_t child) {
	char path[64], text[4096];
	int before = stage(child);
	tries++;
	if (ptrace(PTRACE_ATTACH, child, 0, 0) == 0) {
		int status;
		waitpid(child, &status, __WALL);
		/* It stops before its next instruction: what it has done by now, it had done when it was caught. */
		int now = stage(child);
		if (now == 1) late++, snprintf(what_late, sizeof what_late, "ptrace");
		else if (now == 2) after++;
		else early++;
		ptrace(PTRACE_DETACH, child, 0, 0);
		kill(child, SIGCONT); /* the stop may still wait for it, when another event came first */
	}
	static const char *const files[] = {"mem", "environ", "maps", "auxv", "fd", "exe", "cwd", "root", "fd/3", "map_files"};
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		snprintf(path, sizeof path, "/proc/%d/%s", child, files[i]);
		before = stage(child);
		int opened = open(path, (i == 0 ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
		if (opened >= 0) {
			/* maps and auxv of a process that denies access can be opened by root only, or read as nothing. */
			int held = i != 1 && i != 2 && i != 3;
			if (!held) held = read(opened, text, sizeof text) > 0;
			close(opened);
			if (held) count(child, before, files[i]);
		}
	}
}

static pid_t first_child(pid_t of) {
	char path[64], text[64];
	snprintf(path, sizeof path, "/proc/%d/task/%d/children", of, of);
	return read_file(path, text, sizeof text) > 0 ? (pid_t)atoi(text) : 0;
}

static unsigned uid_of(pid_t child) {
	char path[64], text[4096];
	snprintf(path, sizeof path, "/proc/%d/status", child);
	if (read_file(path, text, sizeof text) <= 0) return 0;
	char *line = strstr(text, "\nUid:");
	return line ? (unsigned)strtoul(line + 5, NULL, 10) : 0;
}

int main(int words, char **word) {
	if (words < 3) return 2;
	int as_root = strcmp(word[1], "root") == 0;
	pid_t runner = fork();
	if (runner == 0) {
		execv(word[2], word + 2);
		_exit(99);
	}
	pid_t child = 0;
	int status;
	while (!child) {
		child = first_child(runner);
		if (!child && waitpid(runner, &status, WNOHANG) == runner) return 3;
	}
	if (as_root) {
		unsigned uid = 0;
		while (uid == 0 && stage(child) < 3) uid = uid_of(child);
		if (uid == 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0) return 4;
		prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	}
	/* With --init pid 1 is codex32's own code for good, and never executes anything. */
	for (int last = 0; last < 3 && tries < 400;) {
		int now = stage(child);
		if (now == 3) break;
		if (now == 2) last++;
		try_all(child);
	}
	if (!as_root) kill(child, SIGKILL);
	printf("tries %ld\nearly %ld\nlate %ld\nafter %ld\n%s\n", tries, early, late, after, what_late);
	if (!as_root) waitpid(runner, &status, 0);
	return 0;
}
