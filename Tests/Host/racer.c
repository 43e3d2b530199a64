/* The attacker of the racing tests, and the victim that shows the attack is real.
 *   racer exchange A B      exchanges two names until SIGTERM, then prints how often
 *   racer naive FOLDER FILE checks that FOLDER is no link and then uses the path, as programs do
 *                           that this attack defeats; prints what FILE held when it lost, or "safe" */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static volatile sig_atomic_t ended;
static void end(int number) { (void)number; ended = 1; }

static int exchange(const char *a, const char *b) {
	struct sigaction action = {.sa_handler = end};
	sigaction(SIGTERM, &action, NULL);
	unsigned long count = 0;
	puts("racing");
	fflush(stdout);
	for (; !ended; count++)
		if (renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) < 0) {
			fprintf(stderr, "exchange: %s\n", strerror(errno));
			return 1;
		}
	/* An even count leaves the names as they were. */
	if (count % 2) renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
	printf("%lu\n", count);
	return 0;
}

static int naive(const char *folder, const char *file) {
	char path[4096], text[256];
	snprintf(path, sizeof path, "%s/%s", folder, file);
	for (long attempt = 0; attempt < 20000000; attempt++) {
		struct stat status;
		if (lstat(folder, &status) < 0 || !S_ISDIR(status.st_mode)) continue;
		int opened = open(path, O_RDONLY | O_CLOEXEC);
		if (opened < 0) continue;
		ssize_t length = read(opened, text, sizeof text - 1);
		close(opened);
		if (length > 0) {
			text[length] = 0;
			puts(text);
			return 0;
		}
	}
	puts("safe");
	return 0;
}

int main(int count, char **words) {
	if (count == 4 && strcmp(words[1], "exchange") == 0) return exchange(words[2], words[3]);
	if (count == 4 && strcmp(words[1], "naive") == 0) return naive(words[2], words[3]);
	return 2;
}
