/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Dictionaries: what documents of one method have in common, learnt from those that pass by. Samples are kept per method until there
 * are enough; codec_train_one() takes them away, learns from three in four and lets the others judge. A dictionary that passes goes
 * to the owner, who stores it and gives it back, and from then on it is used. Later documents are sampled again, ever more rarely,
 * and a new dictionary must be better than the one in use by the same margin; so there are few of them.
 *
 * Methods are named by whoever submits jobs. Those without a dictionary are a cache of CODEC_METHODS_MAX, the one not seen for longest
 * gives way; those with one are bounded by CODEC_DICTIONARIES_MAX.
 */

#include <errno.h>
#include <signal.h>
#include <zdict.h>

#include "basic/str.h"
#include "store/codec-internal.h"

#define SAMPLES_ROOM_FIRST (16U << 10) /* doubled as needed */

/* --------------------------------------------------------------------------------------------------- one dictionary */

Dictionary *dictionary_unref(Dictionary *d) {
        if (!d || atomic_fetch_sub(&d->n_ref, 1) > 1)
                return NULL;
        ZSTD_freeCDict(d->cdict);
        ZSTD_freeDDict(d->ddict);
        free(d);
        return NULL;
}

static Dictionary *dictionary_ref(Dictionary *d) {
        if (d)
                atomic_fetch_add(&d->n_ref, 1);
        return d;
}

static Dictionary *dictionary_new(const void *body, size_t size) {
        Dictionary *d = calloc(1, sizeof(Dictionary) + size);

        if (!d)
                return NULL;
        atomic_init(&d->n_ref, 1);
        d->size = size;
        memcpy(d->body, body, size);
        return d;
}

static Method *find_method(Codec *c, const char *name) {
        return map_get_name(&c->by_name, name, Method, by_name);
}

int dictionary_for_method(Codec *c, const char *method, Dictionary **ret) {
        Dictionary *d = NULL;
        Method *m;
        int r = 0;

        pthread_mutex_lock(&c->mutex);
        m = find_method(c, method);
        if (m && m->current) {
                d = m->current;
                if (!d->cdict)
                        d->cdict = ZSTD_createCDict(d->body, d->size, atomic_load(&c->level));
                if (!d->cdict)
                        r = -ENOMEM;
                else
                        *ret = dictionary_ref(d);
        }
        pthread_mutex_unlock(&c->mutex);
        return r;
}

int dictionary_for_id(Codec *c, uint64_t id, Dictionary **ret) {
        Dictionary *d;
        int r = 0;

        pthread_mutex_lock(&c->mutex);
        d = map_get(&c->dictionaries, id, Dictionary, by_id);
        if (!d)
                r = -EBADMSG;
        else {
                if (!d->ddict)
                        d->ddict = ZSTD_createDDict(d->body, d->size);
                if (!d->ddict)
                        r = -ENOMEM;
                else
                        *ret = dictionary_ref(d);
        }
        pthread_mutex_unlock(&c->mutex);
        return r;
}

/* ------------------------------------------------------------------------------------------------------------ methods */

static void drop_samples(Codec *c, Method *m) {
        c->sample_room -= m->room;
        free(m->samples);
        free(m->sizes);
        m->samples = NULL;
        m->sizes = NULL;
        m->n = m->bytes = m->room = 0;
}

static void method_free(Codec *c, Method *m) {
        map_remove(&c->by_name, &m->by_name);
        list_remove(&m->link);
        c->n_methods--;
        drop_samples(c, m);
        dictionary_unref(m->current);
        free(m);
}

/* Makes room for one more method without dictionary, where their number is at its limit. Returns false when all are being trained. */
static bool make_room(Codec *c) {
        if (c->n_methods - c->n_current < CODEC_METHODS_MAX)
                return true;
        for (List *i = c->methods.prev; i != &c->methods; i = i->prev) {
                Method *m = list_entry(i, Method, link);

                if (!m->current && !m->training) {
                        method_free(c, m);
                        return true;
                }
        }
        return false;
}

/* Found or made; NULL when out of memory or room. */
static Method *get_method(Codec *c, const char *name) {
        Method *m = find_method(c, name);

        if (m) {
                list_remove(&m->link);
                list_prepend(&c->methods, &m->link);
                return m;
        }
        if (!make_room(c))
                return NULL;
        m = calloc(1, sizeof(Method) + strlen(name) + 1);
        if (!m)
                return NULL;
        strcpy(m->name, name);
        if (map_add_name(&c->by_name, &m->by_name, m->name) < 0) {
                free(m);
                return NULL;
        }
        list_prepend(&c->methods, &m->link);
        c->n_methods++;
        return m;
}

void codec_dictionaries_done(Codec *c) {
        Method *m;

        while ((m = list_first_entry(&c->methods, Method, link)))
                method_free(c, m);
        for (size_t i = 0; i < c->dictionaries.n_buckets; i++)
                for (MapNode *n = c->dictionaries.buckets[i], *next; n; n = next) {
                        next = n->next;
                        dictionary_unref(CONTAINER_OF(n, Dictionary, by_id));
                }
        map_done(&c->dictionaries);
        map_done(&c->by_name);
}

/* When a method is learnt anew: after ever more documents, so that the work and the dictionaries stay few. */
static void schedule_next(Method *m) {
        m->next = m->seen + ((uint64_t) CODEC_RETRAIN_AFTER << MIN(m->trained, CODEC_RETRAIN_DOUBLINGS));
}

static int add_dictionary(Codec *c, uint64_t id, const char *method, const void *body, size_t size) {
        _cleanup_(dictionary_unrefp) Dictionary *d = NULL;
        Method *m;
        int r;

        if (map_find(&c->dictionaries, id))
                return -EEXIST;
        m = get_method(c, method);
        d = dictionary_new(body, size);
        if (!m || !d)
                return -ENOMEM;
        r = map_add(&c->dictionaries, &d->by_id, id);
        if (r < 0)
                return r;
        if (!m->current || id > m->current_id) {
                c->n_current += !m->current;
                dictionary_unref(m->current);
                m->current = dictionary_ref(d);
                m->current_id = id;
                schedule_next(m);
        }
        d = NULL; /* the map's reference */
        return 0;
}

int codec_add_dictionary(Codec *c, uint64_t id, const char *method, const void *body, size_t size) {
        int r;

        if (id == 0 || size == 0 || size > CODEC_DICTIONARY_MAX || strlen(method) > CODEC_METHOD_LENGTH_MAX ||
            ZDICT_isError(ZDICT_getDictHeaderSize(body, size)))
                return -EBADMSG;
        pthread_mutex_lock(&c->mutex);
        r = add_dictionary(c, id, method, body, size);
        pthread_mutex_unlock(&c->mutex);
        return r;
}

bool codec_has_dictionary(Codec *c, uint64_t id) {
        bool there;

        pthread_mutex_lock(&c->mutex);
        there = map_find(&c->dictionaries, id);
        pthread_mutex_unlock(&c->mutex);
        return there;
}

size_t codec_dictionaries(Codec *c) {
        size_t n;

        pthread_mutex_lock(&c->mutex);
        n = c->dictionaries.n;
        pthread_mutex_unlock(&c->mutex);
        return n;
}

/* ------------------------------------------------------------------------------------------------------------ samples */

void codec_set_trained(Codec *c, CodecTrained trained, void *userdata) {
        c->trained = trained;
        c->userdata = userdata;
}

static bool is_due(const Method *m) {
        if (m->training || m->n < CODEC_SAMPLES_MIN)
                return false;
        return m->bytes >= CODEC_SAMPLES_BYTES_MIN || m->n == CODEC_SAMPLES_MAX;
}

/* Makes room for one more sample of `size` bytes, at the cost of methods that were not seen for longer. Returns false where there is none. */
static bool reserve_sample(Codec *c, Method *m, size_t size) {
        size_t room = MIN(MAX(MAX(m->room * 2, m->bytes + size), (size_t) SAMPLES_ROOM_FIRST), (size_t) CODEC_SAMPLES_BYTES_MAX);
        uint8_t *p;

        if (!m->sizes)
                m->sizes = new0(size_t, CODEC_SAMPLES_MAX);
        if (!m->sizes)
                return false;
        if (m->room - m->bytes >= size)
                return true;
        for (List *i = c->methods.prev; i != &m->link && c->sample_room - m->room + room > CODEC_SAMPLES_TOTAL_MAX; i = i->prev)
                drop_samples(c, list_entry(i, Method, link));
        p = realloc(m->samples, room);
        if (!p)
                return false;
        c->sample_room += room - m->room;
        m->samples = p;
        m->room = room;
        return true;
}

static void keep_sample(Codec *c, Method *m, const void *data, size_t size) {
        if (m->n == CODEC_SAMPLES_MAX || size > CODEC_SAMPLES_BYTES_MAX - m->bytes || !reserve_sample(c, m, size))
                return;
        memcpy(m->samples + m->bytes, data, size);
        m->bytes += size;
        m->sizes[m->n++] = size;
}

void codec_sample(Codec *c, const char *method, const void *data, size_t size) {
        Method *m;

        if (!c->trained || !method || size < CODEC_SAMPLE_MIN || size > CODEC_DOCUMENT_MAX || strlen(method) > CODEC_METHOD_LENGTH_MAX)
                return;
        pthread_mutex_lock(&c->mutex);
        m = get_method(c, method);
        if (m && m->seen++ >= m->next && !m->training && c->dictionaries.n < CODEC_DICTIONARIES_MAX) {
                keep_sample(c, m, data, MIN(size, (size_t) CODEC_SAMPLE_MAX));
                if (is_due(m))
                        pthread_cond_signal(&c->due);
        }
        pthread_mutex_unlock(&c->mutex);
}

/* ----------------------------------------------------------------------------------------------------------- training */

/* Samples of one method, taken away from it; its dictionary at that time. */
typedef struct Training {
        char name[CODEC_METHOD_LENGTH_MAX + 1];
        uint8_t *samples;
        size_t *sizes;
        size_t n, bytes;
        Dictionary *current;
        int level;
} Training;

static void training_done(Training *t) {
        free(t->samples);
        free(t->sizes);
        dictionary_unref(t->current);
}

/* Puts those that are learnt from first, and the held out ones behind them. Returns 0 or -ENOMEM. */
static int hold_out(Training *t, size_t *ret_n, size_t *ret_bytes) {
        size_t *sizes = new0(size_t, t->n), n = 0, at = 0;
        uint8_t *samples = malloc(t->bytes);

        if (!sizes || !samples) {
                free(sizes);
                free(samples);
                return -ENOMEM;
        }
        for (unsigned pass = 0; pass < 2; pass++) {
                const uint8_t *p = t->samples;

                for (size_t i = 0; i < t->n; p += t->sizes[i++])
                        if ((i % CODEC_HELD_OUT == CODEC_HELD_OUT - 1) == pass) {
                                memcpy(samples + at, p, t->sizes[i]);
                                at += t->sizes[i];
                                sizes[n++] = t->sizes[i];
                        }
                if (pass == 0) {
                        *ret_n = n;
                        *ret_bytes = at;
                }
        }
        free(t->samples);
        free(t->sizes);
        t->samples = samples;
        t->sizes = sizes;
        return 0;
}

/* What the held out samples take with a dictionary (NULL: without), stored as they are where nothing is gained. Returns 0, -ENOMEM, -EIO. */
static int judge(const Training *t, size_t first, const uint8_t *p, const void *dictionary, size_t size, size_t *ret) {
        ZSTD_CDict *d = dictionary ? ZSTD_createCDict(dictionary, size, t->level) : NULL;
        ZSTD_CCtx *context = ZSTD_createCCtx();
        _cleanup_free_ void *buf = malloc(CODEC_SAMPLE_MAX);
        size_t total = 0;
        int r = context && buf && (d || !dictionary) ? 0 : -ENOMEM;

        for (size_t i = first; i < t->n && r >= 0; p += t->sizes[i++]) {
                size_t n = t->sizes[i];

                r = zstd_compress(context, t->level, d, p, t->sizes[i], buf, t->sizes[i], &n);
                total += n;
        }
        ZSTD_freeCCtx(context);
        ZSTD_freeCDict(d);
        if (r < 0)
                return r;
        *ret = total;
        return 0;
}

/* Trains, and says whether the outcome is worth keeping. Returns the size of the dictionary in `buf`, 0, -ENOMEM, -EIO. */
static ssize_t train(Training *t, void *buf) {
        size_t n, bytes, room, size, with, before;
        int r;

        r = hold_out(t, &n, &bytes);
        if (r < 0)
                return r;
        room = MIN(MAX(bytes / CODEC_DICTIONARY_SHARE, (size_t) CODEC_DICTIONARY_MIN), (size_t) CODEC_DICTIONARY_MAX);
        size = ZDICT_trainFromBuffer(buf, room, t->samples, t->sizes, (unsigned) n);
        if (ZDICT_isError(size))
                return 0; /* it found nothing in common, which is an outcome like any other */
        r = judge(t, n, t->samples + bytes, buf, size, &with);
        if (r < 0)
                return r;
        r = judge(t, n, t->samples + bytes, t->current ? t->current->body : NULL, t->current ? t->current->size : 0, &before);
        if (r < 0)
                return r;
        return with <= before / 100 * (100 - CODEC_DICTIONARY_GAIN_MIN) ? (ssize_t) size : 0;
}

static Method *find_due(Codec *c) {
        LIST_FOREACH(i, &c->methods) {
                Method *m = list_entry(i, Method, link);

                if (is_due(m))
                        return m;
        }
        return NULL;
}

/* Takes the samples of a method that is due. */
static bool training_begin(Codec *c, Training *ret) {
        Method *m;

        pthread_mutex_lock(&c->mutex);
        m = find_due(c);
        if (m) {
                *ret = (Training) { .samples = TAKE_PTR(m->samples), .sizes = TAKE_PTR(m->sizes), .n = m->n, .bytes = m->bytes,
                                    .current = dictionary_ref(m->current), .level = atomic_load(&c->level) };
                strcpy(ret->name, m->name);
                drop_samples(c, m);
                m->training = true;
        }
        pthread_mutex_unlock(&c->mutex);
        return m;
}

static void training_end(Codec *c, const char *name) {
        Method *m;

        pthread_mutex_lock(&c->mutex);
        m = find_method(c, name); /* it is there: while it is trained it does not give way */
        m->training = false;
        m->trained++;
        schedule_next(m);
        pthread_mutex_unlock(&c->mutex);
}

int codec_train_one(Codec *c) {
        _cleanup_(training_done) Training t = {};
        _cleanup_free_ void *buf = NULL;
        ssize_t size;

        if (!training_begin(c, &t))
                return 0;
        buf = malloc(CODEC_DICTIONARY_MAX);
        size = buf ? train(&t, buf) : -ENOMEM;
        training_end(c, t.name);
        if (size < 0)
                return (int) size;
        if (size > 0)
                c->trained(t.name, buf, (size_t) size, c->userdata);
        return 1;
}

static void *trainer(void *p) {
        Codec *c = p;

        for (;;) {
                pthread_mutex_lock(&c->mutex);
                while (!c->stopping && !find_due(c))
                        pthread_cond_wait(&c->due, &c->mutex);
                bool stopping = c->stopping;
                pthread_mutex_unlock(&c->mutex);
                if (stopping)
                        return NULL;
                (void) codec_train_one(c); /* whatever went wrong: its samples are gone, and it is tried again with later ones */
        }
}

int codec_start_trainer(Codec *c) {
        sigset_t all, before;
        int r;

        sigfillset(&all); /* signals are for the thread that waits for them */
        r = pthread_sigmask(SIG_SETMASK, &all, &before);
        if (r != 0)
                return -r;
        r = pthread_create(&c->trainer, NULL, trainer, c);
        (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (r != 0)
                return -r;
        c->has_trainer = true;
        return 0;
}

void codec_dictionaries_stop(Codec *c) {
        if (!c->has_trainer)
                return;
        pthread_mutex_lock(&c->mutex);
        c->stopping = true;
        pthread_cond_signal(&c->due);
        pthread_mutex_unlock(&c->mutex);
        (void) pthread_join(c->trainer, NULL);
}
