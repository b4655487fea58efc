/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The table of channel/state.h, tried in every interleaving: two ends that attach, send, receive, leave, are killed
 * between any two stores, and come back with a later epoch, until no new state is found. In each state: nothing of one
 * epoch is read in another, nothing twice, no ring is read while it is being emptied; and if both ends are left in
 * peace, they are connected soon. Controls: tables with one entry changed are caught. */

#include <setjmp.h>
#include <stdarg.h>

#include "channel/state.h"
#include "lib/base.h"

#include <cmocka.h>

#define EPOCHS 4

enum at { AT_REST, AT_EMPTY, AT_SAY };          /* between which of its stores an end stands */

struct end {
        uint8_t alive, own, epoch, was_open, at, say;
        uint8_t life_epoch, life_state;         /* shared */
        uint8_t ring_epoch, ring_full, ring_torn; /* shared: what this end's ring holds; torn: half emptied by a killed life */
        uint8_t took;                           /* of the other's ring in this epoch */
};
struct world { struct end e[2]; uint8_t newest; };

static enum channel_step (*step_of)(enum channel_own, enum channel_seen) = channel_step;
static const char *wrong;

/* --- what the code does, store by store (channel/review.c) ------------------------------------------------------ */

static bool has_unread(const struct world *w, unsigned i) {
        const struct end *e = &w->e[i], *o = &w->e[!i];

        return e->was_open && (e->own == OWN_OPEN || e->own == OWN_ALONE) && o->ring_full && !e->took;
}

static void review(struct world *w, unsigned i) {
        struct end *e = &w->e[i];
        const struct end *o = &w->e[!i];
        enum channel_step s = step_of(e->own, channel_look(e->epoch, life_make(o->life_epoch, o->life_state)));

        switch (s) {
        case STEP_STAY:
                break;
        case STEP_EMPTY:
                e->at = AT_EMPTY;
                break;
        case STEP_OPEN:
                e->own = OWN_OPEN;
                e->was_open = true;
                if (o->ring_epoch != e->epoch)
                        wrong = "open, and the other's ring is of another epoch";
                break;
        case STEP_ALONE:
                e->own = OWN_ALONE;
                break;
        case STEP_FOLLOW:
                if (has_unread(w, i))
                        break;
                e->epoch = o->life_epoch;
                e->own = OWN_ATTACHING;
                e->was_open = false;
                e->say = CHANNEL_ATTACHING;
                e->at = AT_SAY;
                break;
        default:
                wrong = "an honest end is called bad";
        }
}

static void next_store(struct world *w, unsigned i) {
        struct end *e = &w->e[i], *o = &w->e[!i];

        if (e->at == AT_EMPTY) {
                if (o->alive && o->was_open && (o->own == OWN_OPEN || o->own == OWN_ALONE) && o->epoch == e->epoch)
                        wrong = "a ring is emptied while it is read";
                e->ring_epoch = e->epoch;
                e->ring_full = false;
                e->took = false;
                e->own = OWN_ATTACHED;
                e->say = CHANNEL_ATTACHED;
                e->at = AT_SAY;
        } else {
                e->life_epoch = e->epoch;
                e->life_state = e->say;
                e->at = AT_REST;
        }
}

static void receive(struct world *w, unsigned i) {
        struct end *e = &w->e[i], *o = &w->e[!i];

        if (o->ring_epoch != e->epoch)
                wrong = "something of one epoch is read in another";
        e->took = true;
}

/* --- every way on from a state ----------------------------------------------------------------------------------- */

enum act { ACT_REVIEW, ACT_STORE, ACT_SEND, ACT_RECEIVE, ACT_KILL, ACT_MARK, ACT_CLOSE, ACT_ATTACH, N_ACTS };

static bool apply(struct world *w, unsigned i, enum act a) {
        struct end *e = &w->e[i];

        switch (a) {
        case ACT_REVIEW:
                if (!e->alive || e->at != AT_REST)
                        return false;
                review(w, i);
                return true;
        case ACT_STORE:
                if (!e->alive || e->at == AT_REST)
                        return false;
                next_store(w, i);
                return true;
        case ACT_SEND:          /* its last look at the other may be old */
                if (!e->alive || e->at != AT_REST || e->own != OWN_OPEN || e->ring_full)
                        return false;
                e->ring_full = true;
                return true;
        case ACT_RECEIVE:
                if (!e->alive || e->at != AT_REST || !has_unread(w, i))
                        return false;
                receive(w, i);
                return true;
        case ACT_KILL:
                if (!e->alive)
                        return false;
                e->alive = e->own = e->epoch = e->was_open = e->at = e->say = e->took = 0;
                return true;
        case ACT_MARK:
                if (e->alive || e->life_state == CHANNEL_GONE || e->life_epoch == 0)
                        return false;
                e->life_state = CHANNEL_GONE;
                return true;
        case ACT_CLOSE:
                if (!e->alive || e->at != AT_REST)
                        return false;
                e->alive = e->own = e->was_open = e->took = 0;
                e->life_epoch = e->epoch;
                e->life_state = CHANNEL_CLOSED;
                e->epoch = e->say = 0;
                return true;
        case ACT_ATTACH:
                if (e->alive || w->newest == EPOCHS)
                        return false;
                e->alive = true;
                e->own = OWN_ATTACHING;
                e->epoch = e->life_epoch = ++w->newest;
                e->life_state = CHANNEL_ATTACHING;
                return true;
        default:
                return false;
        }
}

/* Left in peace, two ends connect. */
static bool connects(struct world w) {
        for (unsigned n = 0; n < 40; n++)
                for (unsigned i = 0; i < 2; i++)
                        if (!apply(&w, i, ACT_STORE) && !apply(&w, i, ACT_RECEIVE))
                                (void) apply(&w, i, ACT_REVIEW);
        return w.e[0].own == OWN_OPEN && w.e[1].own == OWN_OPEN && w.e[0].epoch == w.e[1].epoch;
}

/* --- the search ------------------------------------------------------------------------------------------------- */

#define SLOTS (1u << 22)

struct search { struct world *queue; size_t n, read; uint32_t *slots; };

static void visit(struct search *s, const struct world *w) {
        uint64_t h = 14695981039346656037u;

        for (size_t i = 0; i < sizeof(*w); i++)
                h = (h ^ ((const unsigned char *) w)[i]) * 1099511628211u;
        for (size_t k = h % SLOTS; ; k = (k + 1) % SLOTS) {
                if (s->slots[k] == 0) {
                        assert_true(s->n < SLOTS / 2);
                        s->queue[s->n++] = *w;
                        s->slots[k] = (uint32_t) s->n;
                        return;
                }
                if (memcmp(&s->queue[s->slots[k] - 1], w, sizeof(*w)) == 0)
                        return;
        }
}

static const char *search(size_t *ret_states) {
        struct search s = { calloc(SLOTS / 2, sizeof(struct world)), 0, 0, calloc(SLOTS, sizeof(uint32_t)) };
        struct world begin = { 0 };

        assert_non_null(s.queue);
        assert_non_null(s.slots);
        wrong = NULL;
        visit(&s, &begin);
        while (s.read < s.n && !wrong) {
                struct world w = s.queue[s.read++];

                if (w.e[0].alive && w.e[1].alive && !connects(w))
                        wrong = "two ends left in peace don't connect";
                for (unsigned i = 0; i < 2 && !wrong; i++)
                        for (unsigned a = 0; a < N_ACTS && !wrong; a++) {
                                struct world next = w;

                                if (apply(&next, i, (enum act) a))
                                        visit(&s, &next);
                        }
        }
        *ret_states = s.n;
        free(s.queue);
        free(s.slots);
        return wrong;
}

static void in_every_interleaving_nothing_is_read_wrongly_and_ends_connect(void **state) {
        size_t n;
        const char *w;
        (void) state;

        step_of = channel_step;
        w = search(&n);
        print_message("# %zu states\n", n);
        assert_string_equal(w ? w : "", "");
        assert_true(n > 1000);
}

/* --- controls: a wrong table is caught ---------------------------------------------------------------------------- */

static struct { enum channel_own own; enum channel_seen seen; enum channel_step step; } change;

static enum channel_step changed(enum channel_own own, enum channel_seen seen) {
        return own == change.own && seen == change.seen ? change.step : channel_step(own, seen);
}

static void a_changed_table_is_caught(void **state) {
        unsigned caught = 0, tried = 0;
        (void) state;

        step_of = changed;
        for (unsigned own = 0; own < N_CHANNEL_OWN; own++)
                for (unsigned seen = 0; seen < SEEN_NONSENSE; seen++) {
                        enum channel_step right = channel_step((enum channel_own) own, (enum channel_seen) seen);
                        size_t n;

                        if (right == STEP_BAD || (right == STEP_STAY && seen != SEEN_ATTACHED))
                                continue;
                        change.own = (enum channel_own) own;
                        change.seen = (enum channel_seen) seen;
                        change.step = right == STEP_STAY ? STEP_ALONE : right == STEP_EMPTY ? STEP_OPEN : STEP_STAY;
                        tried++;
                        if (search(&n))
                                caught++;
                        else    /* Not to notice that the other left is no danger, only a pity: then the next life tells. */
                                assert_int_equal(right, STEP_ALONE);
                }
        step_of = channel_step;
        print_message("# %u of %u changes are caught\n", caught, tried);
        assert_true(caught >= 6);
}

static void what_cannot_be_honest_is_nonsense(void **state) {
        (void) state;

        assert_int_equal(channel_look(1, life_make(1, CHANNEL_DETACHED)), SEEN_NONSENSE);
        assert_int_equal(channel_look(1, life_make(1, N_CHANNEL_STATES)), SEEN_NONSENSE);
        assert_int_equal(channel_look(1, UINT64_MAX), SEEN_NONSENSE);
        assert_int_equal(channel_look(1, 0), SEEN_OLDER);
        for (unsigned own = 0; own < N_CHANNEL_OWN; own++)
                assert_int_equal(channel_step((enum channel_own) own, SEEN_NONSENSE), STEP_BAD);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(in_every_interleaving_nothing_is_read_wrongly_and_ends_connect),
                cmocka_unit_test(a_changed_table_is_caught),
                cmocka_unit_test(what_cannot_be_honest_is_nonsense),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
