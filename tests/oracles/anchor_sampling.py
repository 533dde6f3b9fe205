"""How many anchors of an image train the region proposal network, and how likely each is to be drawn (SPEC 4.3).

256 anchors: up to half of them positive, the rest negative; negatives take the places that positives leave empty,
positives never take those of negatives. Positives and negatives are each drawn uniformly and without replacement, so of
`available` anchors every set of `drawn` is equally likely.
"""

from math import comb


def sampling_counts(positives, negatives, batch_size=256, positive_fraction=0.5):
    """How many (positive, negative) anchors are drawn from so many."""
    drawn = min(positives, int(batch_size * positive_fraction))
    return drawn, min(negatives, batch_size - drawn)


def probability_of(members, drawn, available):
    """Probability that all of `members` given anchors are among the `drawn` ones of `available`."""
    return comb(available - members, drawn - members) / comb(available, drawn) if drawn >= members else 0.0


def chi_square(counts, expected):
    """Sum of the squared differences of counts to the count expected of each, over the latter."""
    return sum((count - expected) ** 2 / expected for count in counts)
