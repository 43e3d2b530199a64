// What reading images needs of other libraries. Nothing of a start comes here.
#include "codex_archive.h"
#include <errno.h>
#include <nettle/sha2.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <zlib.h>
#include <zstd.h>

void *codex_sha256_new(void) {
    struct sha256_ctx *state = malloc(sizeof *state);
    if (state) sha256_init(state);
    return state;
}

void codex_sha256_update(void *state, const void *bytes, size_t count) { sha256_update(state, count, bytes); }

void codex_sha256_finish(void *state, uint8_t *digest) { sha256_digest(state, SHA256_DIGEST_SIZE, digest); }

void codex_sha256_free(void *state) { free(state); }

struct inflate_state {
    int kind;
    int ended;
    z_stream gzip;
    ZSTD_DStream *zstd;
};

void *codex_inflate_new(int kind) {
    struct inflate_state *state = calloc(1, sizeof *state);
    if (!state) return NULL;
    state->kind = kind;
    // 16: the gzip form and no other.
    if (kind == CODEX_GZIP && inflateInit2(&state->gzip, 15 + 16) != Z_OK) goto failed;
    if (kind == CODEX_ZSTD) {
        state->zstd = ZSTD_createDStream();
        if (!state->zstd) goto failed;
        // 128 MiB, as zstd(1) does without --long: a frame's window is memory of ours.
        if (ZSTD_isError(ZSTD_DCtx_setParameter(state->zstd, ZSTD_d_windowLogMax, 27))) {
            ZSTD_freeDStream(state->zstd);
            goto failed;
        }
    }
    return state;
failed:
    free(state);
    return NULL;
}

void codex_inflate_free(void *opaque) {
    struct inflate_state *state = opaque;
    if (state->kind == CODEX_GZIP) inflateEnd(&state->gzip);
    if (state->zstd) ZSTD_freeDStream(state->zstd);
    free(state);
}

int codex_inflate(void *opaque, const uint8_t *in, size_t *in_count, uint8_t *out, size_t *out_count) {
    struct inflate_state *state = opaque;
    if (state->kind == CODEX_ZSTD) {
        ZSTD_inBuffer input = {in, *in_count, 0};
        ZSTD_outBuffer output = {out, *out_count, 0};
        size_t left = ZSTD_decompressStream(state->zstd, &output, &input);
        *in_count = input.pos;
        *out_count = output.pos;
        return ZSTD_isError(left) ? -1 : left == 0;
    }
    // gzip(1) takes several streams behind each other for one file.
    if (state->ended && *in_count > 0) {
        if (inflateReset(&state->gzip) != Z_OK) return -1;
        state->ended = 0;
    }
    state->gzip.next_in = (Bytef *)in;
    state->gzip.avail_in = *in_count;
    state->gzip.next_out = out;
    state->gzip.avail_out = *out_count;
    int result = inflate(&state->gzip, Z_NO_FLUSH);
    *in_count -= state->gzip.avail_in;
    *out_count -= state->gzip.avail_out;
    if (result == Z_STREAM_END) state->ended = 1;
    // Z_BUF_ERROR: no progress for want of input, which is no failure.
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) return -1;
    return state->ended;
}

int codex_make_whiteout(int folder, const char *name) {
    return mknodat(folder, name, S_IFCHR, makedev(0, 0)) == 0 ? 0 : -errno;
}

int codex_make_socket(int folder, const char *name) {
    return mknodat(folder, name, S_IFSOCK | 0600, 0) == 0 ? 0 : -errno;
}
