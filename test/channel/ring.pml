/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The ring and the doorbells of channel/ (layout.h), for spin: a writer, a reader, a ring of SLOTS words, in which a
 * record is one word or two (word and payload). Each statement is one access to shared memory.
 * Claims: messages arrive in order, whole, once; nobody sleeps for ever (no invalid end state) though each is rung
 * once for a sleep. Controls, which must fail: -DNO_ZERO (the word behind a record isn't zeroed first), -DNO_SECOND_LOOK
 * (who sleeps doesn't look again), -DNO_TELL (the reader tells its head each quarter only).
 *   spin -a ring.pml && cc -O2 -DSAFETY -o pan pan.c && ./pan -m100000 */

#define SLOTS 5
#define MESSAGES 6
#define QUARTER 4       /* a head is told at the latest after so many words; so many that the writer may lack them */

byte ring[SLOTS];       /* 0: no record; else its number, 1 and up. A payload is 99: what must never be taken for a word */
byte head_told = 0;     /* modulo 64 */
byte want_data = 0, want_space = 0;     /* odd: asleep */
byte bell_reader = 0, bell_writer = 0;  /* eventfds: 0 or 1 is enough, a read clears */

#define LEN(n) (1 + (n) % 2)            /* words of message n */

proctype writer() {
        byte n = 1, at = 0, used = 0, tail = 0, head = 0, rung = 0, w;

        do
        :: n <= MESSAGES ->
                /* Room for the record and the zero word behind it? */
                if
                :: SLOTS - ((tail - head + 64) % 64) < LEN(n) + 1 ->
                        head = head_told;
                        if
                        :: SLOTS - ((tail - head + 64) % 64) < LEN(n) + 1 ->
                                want_space = (want_space + 1) | 1;
                                head = head_told;
                                if
                                :: SLOTS - ((tail - head + 64) % 64) < LEN(n) + 1 ->
                                        bell_writer == 1;       /* sleeps */
                                :: else
                                fi;
                                want_space = want_space + 1;
                                bell_writer = 0;
                        :: else
                        fi
                :: else ->
#ifndef NO_ZERO
                        ring[(at + LEN(n)) % SLOTS] = 0;
#endif
                        if
                        :: LEN(n) == 2 -> ring[(at + 1) % SLOTS] = 99
                        :: else
                        fi;
                        ring[at] = n;
                        tail = (tail + LEN(n)) % 64;
                        at = (at + LEN(n)) % SLOTS;
                        n++;
                        w = want_data;
                        if
                        :: (w & 1) && w != rung -> rung = w; bell_reader = 1
                        :: else
                        fi
                fi
        :: else -> break
        od
}

proctype reader() {
        byte n = 1, at = 0, head = 0, told = 0, rung = 0, w, word;

        do
        :: n <= MESSAGES ->
                word = ring[at];
                if
                :: word == 0 ->
#ifndef NO_TELL
                        head_told = head; told = head;          /* before it sleeps it tells */
                        w = want_space;
                        if
                        :: (w & 1) && w != rung -> rung = w; bell_writer = 1
                        :: else
                        fi;
#endif
                        want_data = (want_data + 1) | 1;
#ifndef NO_SECOND_LOOK
                        word = ring[at];
#endif
                        if
                        :: word == 0 -> bell_reader == 1        /* sleeps */
                        :: else
                        fi;
                        want_data = want_data + 1;
                        bell_reader = 0
                :: else ->
                        assert(word == n);
                        if
                        :: LEN(n) == 2 -> word = ring[(at + 1) % SLOTS]; assert(word == 99)
                        :: else
                        fi;
                        at = (at + LEN(n)) % SLOTS;
                        head = (head + LEN(n)) % 64;
                        n++;
                        w = want_space;
#ifdef NO_TELL
                        w = 0;
#endif
                        if
                        :: (w & 1) || (head - told + 64) % 64 >= QUARTER ->
                                head_told = head; told = head;
                                w = want_space;
                                if
                                :: (w & 1) && w != rung -> rung = w; bell_writer = 1
                                :: else
                                fi
                        :: else
                        fi
                fi
        :: else -> break
        od
}

init { atomic { run writer(); run reader() } }
