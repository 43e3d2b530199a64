// A producer on a thread of its own, some pieces ahead of its consumer. Nothing of a start comes here: whoever begins
// one ends it before anything is cloned.
#include "codex_archive.h"
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

// Together what a processor's second cache holds.
enum { PIECES = 4, PIECE = 1 << 17, STACK = 1 << 18 };

struct codex_ahead {
    codex_produce produce;
    void *context;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    ptrdiff_t counts[PIECES];
    // Pieces that were made, and that were given back; the ring's place is the rest of the division.
    size_t made, used;
    bool is_lent, is_unwanted;
    char pieces[PIECES][PIECE];
};

static void *run(void *opaque) {
    struct codex_ahead *ahead = opaque;
    for (;;) {
        pthread_mutex_lock(&ahead->lock);
        while (!ahead->is_unwanted && ahead->made - ahead->used == PIECES)
            pthread_cond_wait(&ahead->changed, &ahead->lock);
        bool is_unwanted = ahead->is_unwanted;
        size_t place = ahead->made % PIECES;
        pthread_mutex_unlock(&ahead->lock);
        if (is_unwanted) return NULL;
        ptrdiff_t count = ahead->produce(ahead->context, ahead->pieces[place], PIECE);
        pthread_mutex_lock(&ahead->lock);
        ahead->counts[place] = count;
        ahead->made++;
        pthread_cond_signal(&ahead->changed);
        pthread_mutex_unlock(&ahead->lock);
        if (count <= 0) return NULL;
    }
}

struct codex_ahead *codex_ahead_start(codex_produce produce, void *context) {
    struct codex_ahead *ahead = malloc(sizeof *ahead);
    if (!ahead) return NULL;
    ahead->produce = produce;
    ahead->context = context;
    ahead->made = ahead->used = 0;
    ahead->is_lent = ahead->is_unwanted = false;
    pthread_mutex_init(&ahead->lock, NULL);
    pthread_cond_init(&ahead->changed, NULL);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    // Signals are the first thread's.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&ahead->thread, &attributes, run, ahead);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (result == 0) return ahead;
    free(ahead);
    return NULL;
}

ptrdiff_t codex_ahead_next(struct codex_ahead *ahead, const void **piece) {
    pthread_mutex_lock(&ahead->lock);
    if (ahead->is_lent) {
        ahead->is_lent = false;
        ahead->used++;
        pthread_cond_signal(&ahead->changed);
    }
    while (ahead->made == ahead->used) pthread_cond_wait(&ahead->changed, &ahead->lock);
    size_t place = ahead->used % PIECES;
    ptrdiff_t count = ahead->counts[place];
    // The last word stays where it is: whoever asks again is told the same.
    if (count > 0) ahead->is_lent = true;
    pthread_mutex_unlock(&ahead->lock);
    *piece = ahead->pieces[place];
    return count;
}

void codex_ahead_stop(struct codex_ahead *ahead) {
    pthread_mutex_lock(&ahead->lock);
    ahead->is_unwanted = true;
    pthread_cond_signal(&ahead->changed);
    pthread_mutex_unlock(&ahead->lock);
    pthread_join(ahead->thread, NULL);
    pthread_cond_destroy(&ahead->changed);
    pthread_mutex_destroy(&ahead->lock);
    free(ahead);
}
