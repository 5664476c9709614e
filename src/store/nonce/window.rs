//! Which nonces of this process were spent: a bit for each, in the order in which they were made.

use std::collections::VecDeque;

use crate::clock::Timestamp;

/// Nonces in a piece: 8 KiB of bits.
const PIECE: u64 = 65_536;
const WORDS: usize = PIECE as usize / 64;

/// The nonces that have not expired.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// The number of the first nonce in `pieces`; a multiple of [`PIECE`].
    first: u64,
    /// The number of the next nonce.
    next: u64,
    pieces: VecDeque<Piece>,
}

#[derive(Debug)]
struct Piece {
    spent: Box<[u64]>,
    /// When none of it is good any more.
    expires_at: Timestamp,
}

impl Window {
    /// Numbers a nonce that is good until then, and forgets those that are good no more.
    pub(super) fn number(&mut self, now: Timestamp, expires_at: Timestamp) -> u64 {
        let number = self.next;
        self.next += 1;
        if number.is_multiple_of(PIECE) {
            // One from a time when the clock was far ahead would keep all later ones.
            let latest = expires_at.plus(expires_at.since(now));
            let is_over = |piece: &Piece| piece.expires_at <= now || piece.expires_at > latest;
            while self.pieces.front().is_some_and(is_over) {
                self.pieces.pop_front();
                self.first += PIECE;
            }
            self.pieces.push_back(Piece { spent: vec![0; WORDS].into(), expires_at });
        }
        if let Some(last) = self.pieces.back_mut() {
            // By a clock that may be set back.
            last.expires_at = last.expires_at.max(expires_at);
        }
        number
    }

    /// `false` where it was spent before, was forgotten, or was never made.
    pub(super) fn spend(&mut self, number: u64) -> bool {
        let Some(place) = number.checked_sub(self.first).filter(|_| number < self.next) else {
            return false;
        };
        let (piece, place) = ((place / PIECE) as usize, place % PIECE);
        let word =
            self.pieces.get_mut(piece).and_then(|piece| piece.spent.get_mut((place / 64) as usize));
        let Some(word) = word else { return false };
        let bit = 1 << (place % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_s(1_000);
    const LIFETIME: Duration = Duration::from_secs(10);

    fn make(window: &mut Window, now: Timestamp) -> u64 {
        window.number(now, now.plus(LIFETIME))
    }

    #[test]
    fn each_is_spent_once_in_whatever_order() {
        let mut window = Window::default();
        let made: Vec<_> = (0..3 * PIECE).map(|_| make(&mut window, NOW)).collect();
        for number in made.iter().rev() {
            assert!(window.spend(*number), "{number}");
        }
        for number in made {
            assert!(!window.spend(number), "{number}");
        }
    }

    #[test]
    fn one_that_was_not_made_is_not_spent() {
        let mut window = Window::default();
        assert!(!window.spend(0));
        assert_eq!(make(&mut window, NOW), 0);
        for number in [1, PIECE, u64::MAX] {
            assert!(!window.spend(number), "{number}");
        }
        assert!(window.spend(0));
    }

    #[test]
    fn what_expired_takes_no_memory_and_is_never_good_again() {
        let mut window = Window::default();
        for _ in 0..2 * PIECE {
            make(&mut window, NOW);
        }
        let later = NOW.plus(LIFETIME);
        let last = make(&mut window, later);
        assert_eq!(window.pieces.len(), 1);
        for number in [0, PIECE, last - 1] {
            assert!(!window.spend(number), "{number}");
        }
        assert!(window.spend(last));
    }

    #[test]
    fn a_clock_that_was_a_year_ahead_keeps_nothing_for_a_year() {
        let mut window = Window::default();
        let ahead = make(&mut window, NOW.plus(Duration::from_secs(365 * 86_400)));
        for _ in 0..3 * PIECE {
            make(&mut window, NOW);
        }
        assert_eq!(window.pieces.len(), 3);
        assert!(!window.spend(ahead));
    }

    #[test]
    fn a_clock_that_is_set_back_costs_no_nonce() {
        let mut window = Window::default();
        let first = make(&mut window, NOW.plus(LIFETIME));
        for _ in 0..PIECE {
            make(&mut window, NOW);
        }
        assert!(window.spend(first));
    }
}
