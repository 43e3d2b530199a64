#ifndef CODEX_ARCHIVE_H
#define CODEX_ARCHIVE_H
#include <stddef.h>
#include <stdint.h>

/* SHA-256 (FIPS 180-4) by nettle. NULL: no memory. */
void *codex_sha256_new(void);
void codex_sha256_update(void *state, const void *bytes, size_t count);
void codex_sha256_finish(void *state, uint8_t *digest);
void codex_sha256_free(void *state);

/* Decompression as a stream: gzip (RFC 1952) by zlib, Zstandard (RFC 8878) by libzstd. */
enum { CODEX_GZIP = 1, CODEX_ZSTD = 2 };
void *codex_inflate_new(int kind);
void codex_inflate_free(void *state);
/* Takes *in_count bytes at the most and gives *out_count at the most; both say then how many they were.
   Returns 1 where a stream has ended (another may follow), 0 inside of one, -1 for what is no such stream. */
int codex_inflate(void *state, const uint8_t *in, size_t *in_count, uint8_t *out, size_t *out_count);

/* A producer on a thread of its own, a few pieces ahead of whoever takes them. `produce` fills a piece and says how much; 0:
   the end, less: it failed; it is not called again then. NULL: no thread or no memory for it. */
struct codex_ahead;
typedef ptrdiff_t (*codex_produce)(void *context, void *piece, size_t size);
struct codex_ahead *codex_ahead_start(codex_produce produce, void *context);
/* The next piece, until the next call; 0 and less as `produce` said, again and again. */
ptrdiff_t codex_ahead_next(struct codex_ahead *ahead, const void **piece);
/* Waits for the thread's end: what `produce` has written is there to be read then. */
void codex_ahead_stop(struct codex_ahead *ahead);

/* An overlay's mark that a name is gone: a character device 0:0, which anybody may make (Linux 5.8). */
int codex_make_whiteout(int folder, const char *name);
/* A socket's name with nobody behind it. */
int codex_make_socket(int folder, const char *name);
#endif
