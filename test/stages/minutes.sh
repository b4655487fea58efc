# The first ten minutes, typed from README.md on a fresh Debian 12; under LONG=1 on Debian 13, too.
one first-minutes 900 test/first-minutes.sh bookworm
[ -z "${LONG:-}" ] || one first-minutes-trixie 900 test/first-minutes.sh trixie
