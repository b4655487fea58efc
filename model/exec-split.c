/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/definition.h"

/* Takes the word at *p apart into out (which has room for all of it): quotes open and close anywhere in
 * it, \ takes the next character as it is, but in '...'. 0, or 1 where the text ends inside. */
static int take_word(const char **p, char *out) {
        const char *s = *p;
        char quote = 0;

        for (; *s && (quote || (*s != ' ' && *s != '\t')); s++) {
                if (*s == '\\' && quote != '\'') {
                        if (!*++s)
                                return 1;
                        *out++ = *s;
                } else if (quote ? *s == quote : *s == '"' || *s == '\'')
                        quote = quote ? 0 : *s;
                else
                        *out++ = *s;
        }
        *out = 0;
        *p = s;
        return quote ? 1 : 0;
}

int ulv_exec_split(const char *s, char ***ret_argv) {
        _cleanup_free_ char *word = malloc(strlen(s) + 1);
        char **argv = calloc(1, sizeof(char *));
        size_t n = 0;
        int r = word && argv ? 0 : -ENOMEM;

        for (s += strspn(s, " \t"); r == 0 && *s; s += strspn(s, " \t")) {
                char **grown;

                r = take_word(&s, word);
                if (r != 0)
                        break;
                grown = realloc(argv, (n + 2) * sizeof(char *));
                if (grown)
                        argv = grown;
                if (!grown || !(argv[n] = strdup(word)))
                        r = -ENOMEM;
                else
                        argv[++n] = NULL;
        }
        if (r != 0)
                ulv_strv_free(argv);
        else
                *ret_argv = argv;
        return r;
}
