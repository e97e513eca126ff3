"""The numbers of the engine's policy that are not a user's setting; each is here and nowhere else."""

from __future__ import annotations

# Waiting: after a failure without a word from the server, and after one with it.
BACKOFF_FIRST = 0.5  # seconds: the longest wait before the first repeat; it doubles with each further one
BACKOFF_LONGEST = 30.0  # seconds: the longest wait of that kind
BACKOFF_FLOOR = 0.05  # seconds: no wait is shorter, but for the one immediate repeat after a dead connection
THROTTLED_FIRST = 1.0
"""Seconds: the longest wait after a first 429 that names no delay, where nobody is served; it doubles each time."""
THROTTLED_LONGEST = 60.0  # seconds: the longest wait of that kind
THROTTLED_SPREAD = 0.5  # the least share of that wait; the rest is chance
AGAIN_LONGEST = 1.0  # seconds: the longest wait of a row that is refused again and again while others are served
JITTER_SHARE = 0.1  # the share of a server's delay that a row may wait more, so that rows don't return as one wave…
JITTER_LONGEST = 1.0  # … and its limit in seconds
LONGEST_DELAY = 1e9  # seconds: what ``inf`` and absurd numbers of a server are taken for

# The window: how many calls are in flight at a time.
WINDOW_AFTER_OUTAGE = 0.7  # the share of the window that is left after an outage

# Giving up on a server, a key, a model.
OUTAGE_FAILURES = 5  # rows failing in a row that shut the outage gate; the concurrency where it is more
DOUBT = 1.0
"""Seconds after a first failure for which calls in flight are taken for failing ones: no more go than shut the gate."""
MOST_PATIENCE = 8
"""How many times as many it takes at most, after a row from further on was answered at once: it was the rows."""
PROBE_FIRST = 1.0  # seconds until the first probe of a server that is out; they double
PROBE_LONGEST = 30.0  # seconds: the longest time between two probes
REFUSALS = 5
"""Rows refused for more than themselves (the key, the account, one model, the set-up) before anybody is answered,
after which a circuit is suspected."""
REFUSALS_AMONG_ANSWERS = 20  # rows refused alike since the last answer; the window where it is more
LEAPS_BELIEVED = 5
"""Leaps that are made in all before refusals that may be the rows' own are taken for more, two at least of them as
probes one after the other, while nobody is answered."""
PROBES_ALIKE = 3  # leap probes that confirm that all rows are refused alike, where nobody was answered
PROBES_AT_END = 2  # more leap probes, after one that came to the last row…
PROBES_AT_END_OF_ROWS = 10  # … and where it may be the rows' own fault
NAME_TRIES = (2.0, 10.0, 30.0)  # seconds after its first failure at which a name is looked up that was never found
THROTTLED_ALONE = 3
"""Times that a row larger than all that were answered is throttled among them, and then again alone at the end."""

# Leap probes: fresh rows from further on, for what fails may be the rows.
LEAP = 4  # the first goes so many places on, each further one so many times as far
LONGEST_LEAP = 4096  # places
MOST_SKIPPED = 4096  # calls that are kept while leaps go over them…
MOST_SKIPPED_BYTES = 64 * 2**20  # … and bytes of their bodies
MOST_SEGMENTS = 32  # parts of the table that take turns after leaps
BETWEEN_LEAPS = 0.2
"""Seconds between the leap probes of a server that answers with errors: for it may be that only these rows fail."""
LEAPS_AT_ONCE = 14  # such probes, before they become as rare as those of a server that is down
MOST_BEHIND = 4096  # rows to be tried again that fresh ones go before
RETRY_SHARE = 5  # fresh rows that go for each that is tried again, where both wait

# Several servers.
STICKINESS = 1.25
"""How much longer a call may take, by what the servers have shown, at the one that has the beginning of its prompt."""
BEGINNING = 1024  # bytes of what comes before a user's first message, and of that, by which prompts begin alike
LOOK_AFTER, LOOK_LONGEST = 4.0, 10.0
"""A slower server without calls gets one again after so many times as long as its answers took; seconds at most."""
LATENCY_MEMORY = 0.1  # the weight of the newest answer in what is known of a server's time

# Pacing.
BURST_SECONDS = 0.1  # how much of a pace of our own may go out at once; one request at least
ALLOWANCE_KEPT = 0.05
"""The share of the allowance a server tells that is left unused, for answers that overtake each other; one at most."""
ALLOWANCE_UNREAD = 0.05  # the share of what is left that may be used before another answer is read for it
ON_THE_WAY = 0.25  # seconds after its start for which the server may not know yet of a call
REFILL_TRUST = 0.9  # the share of the measured refill that is counted on before the server has confirmed it
REFILL_MEASURED_FROM = 0.5  # seconds that a refill is measured before it is used
REFILL_MEMORY = 60.0  # seconds after which an older measurement counts half
SPREAD_HASTE = 1.25
"""How much faster than evenly an allowance is spent that is renewed at once: nothing is left over at the end."""
RESET_UNKNOWN = 1.0  # seconds until an allowance is asked for again where the server names no time
TOKENS_GUESS = 500.0  # tokens of a call of which nobody knows any
TOKENS_MEMORY = 0.1  # the weight of the newest call in what is known of tokens: their mean, and how far guesses are off
SHORTEST_WAIT = 0.001  # seconds: a wait for an allowance is never shorter

# The pace that is learned from refusals. Rates are in sends a second.
SHORTEST_REFUSAL = 0.02  # seconds: no refusal is taken to come faster
DELAY_KEPT = 0.8  # how much of the slowest refusal's time is left with each further refusal
SETTLED_AFTER = 1.2  # a send without a refusal after so many times the slowest refusal's time was let in
PACE_SLACK = 0.005  # seconds of a pace that may be made up for
PACE_LEAST, PACE_LEAST_NAMED = 0.5, 2.0  # the slowest pace; where the server names delays, they do the rest
FAST = 40.0  # from this pace on, one more refusal shows nothing
WAVE_END = 0.01  # seconds that are waited for late refusals of the first wave…
WAVE_QUIET, WAVE_GAPS = 0.25, 10.0
"""… and after each of them this share of the time that the slowest took, or so many times as long as they are apart."""
GUESS_LEAST, GUESS_KEPT, GUESS_OF_LATELY = (
    4.0,
    0.9,
    0.7,
)  # a first guess: at least, its share that is used, at most of late
MEASURED_FROM = 10  # sends that were let in, from which they are a measure
RATE_KEPT, RATE_SLOWED = 0.95, 0.85  # the share of a measured rate that is used: later, and right after a refusal
SEEK_AFTER = 0.25  # seconds without a refusal after which the pace is doubled while no limit is known
LONG_DELAY, DEAR_DELAY = 2.0, 0.9  # seconds: a server that asks for so long has windows; refusals are dear
UP_FIRST, UP_MOST, UP_DEAR = 1.0, 5.0, 10.0
"""Seconds until a little more is tried: at first, at most, and at a server whose refusals cost a second or more."""
UP_GAIN, UP_GAIN_LOOSE, UP_GAIN_MOST, UP_FASTER = 1.06, 1.25, 1.7, 1.6
"""How much more that is: where the rate is known well, where it is not, at most; how the gain grows with each try."""
RECHECK_FIRST, RECHECK_MOST = 2.0, 15.0
"""Seconds after which a slower pace is tried where refusals seemed to be chance; they double, to the second number."""
DRY_FIRST, DRY_LONGER, DRY_LATELY, DRY_LONGEST = 0.1, 1.8, 1.0, 10.0
"""While nothing is let in: seconds until the next send, how they grow, the most if any were let in lately, and else."""
SERVED_LATELY = 10.0  # seconds for which a server that served somebody is not taken to refuse everybody
SERVED_NOBODY = 30.0  # seconds without an answer after which refusals are an outage

# Leases of a share.
LEASE_RENEWED, LEASE_LONGEST = 0.25, 1.0  # seconds after which a lease is renewed, and after which it has run out
LEASE_SOON = 0.05  # seconds after which a lease of nothing may be renewed
LEASE_AT_ONCE, LEASE_LOOKED = 0.005, 0.01  # seconds a run waits for a lease, and after which it looks for it again
LEASE_LAG = 0.1  # seconds by which refusals are known later than one process alone knows them
LEASE_SLACK = 0.03  # seconds of a leased pace that may be made up for
LEASE_SILENT = 8.0  # calls that all leave out before they go on at a slower pace
LEASES_A_SECOND, LEASES_AT_ONCE = 4.8, 3.0  # renewals of one process, and how many of them may come at once
LEASE_MORE, LEASE_USED = 1.5, 0.8
"""How much more than it used a process may use next, and the share of a lease from which on it wants all it may get."""
SETTLED_SOON, SETTLED_LATE = 3, 30.0
"""Tries to read a dead process's journal, a lease apart, for which others wait; seconds between those after them."""
LEASE_FOR_GOOD = 4.0  # seconds for which a share remembers which send a number is

# The warm start.
WARM_BYTES = 4096  # of a prompt's beginning that rows must share: about the 1,024 tokens from which on it is cached
WARM_LOOK, WARM_LOOK_MOST = 16, 256  # the first rows to be sent that are looked at, among so many at most
WARM_ROWS = 8  # rows among them that must share it
WARM_LONGEST = 5.0  # seconds that the rest waits at most

# Streams.
AFTER_DONE = 0.25
"""Seconds that a connection is given to end its exchange once nothing more is needed, so that it can carry the next."""
AFTER_FINISH = 10.0
"""Seconds that a server is given after the end of every choice to tell the tokens, or to end the stream…"""
AFTER_FINISH_KNOWN = 1.5  # … and for how many once so many streams came to their end without tokens:
UNCOUNTED = 20

# Reading.
QUOTE_LENGTH = 200  # characters of a server's own words that a message may quote
ERROR_BODY_BYTES = 2**20  # an error body that is longer is not read for its words
STRAY_BYTES = 4096  # of lines in a stream that are none of its format, so much is read for its words
DELAY_LENGTH = 400  # characters of a delay header that are looked at
DEPTH_KEPT = 64  # how deep an answer is looked into that is nested too deeply for a parser
DEPTH_BYTES = 4 * 2**20  # an answer of that kind is looked into up to this length

# The loop.
AT_A_TURN = 64
"""Calls that are begun before answers are looked for again: a wide run begins without a pause for those that came."""
PULLED_AT_ONCE = 4096  # rows, most of them with ends of earlier runs, after which the sink is asked again for its room
AHEAD, AHEAD_BYTES = 4096, 2**24
"""Calls, and the bytes of their bodies, that are looked ahead at with a journal, to say what is sent before it is."""
LONGEST_WAIT = 0.1
"""Seconds after which the loop looks up at the latest: whether it is interrupted, whether the bar must move."""
LOOKED_UP_AT_ONCE = 0.4  # seconds for which a run that must leave at once still looks answers of earlier runs up
BYTES_PER_TOKEN = 4  # a rough guess, for pacing alone
TOKENS_OF_AN_IMAGE = 1000  # as rough a guess
MAY_HAVE_IMAGES = 2**14  # bytes of a request from which on images are looked for in it
