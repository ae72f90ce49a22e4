#!/bin/sh
# Stands in for `tc` on a kernel that has no netem: what netem was asked for becomes a plain queue,
# filters are not set, and $REFUSED is refused. All else the real program does.
words=
for word in "$@"; do
    if [ "$word" = "$REFUSED" ]; then
        echo "no ${REFUSED}s today" >&2
        exit 2
    fi
    if [ "$word" = netem ]; then
        words="$words pfifo limit 100"
        break
    fi
    words="$words $word"
done
[ "$1" = filter ] || exec "$REAL_TC" $words
