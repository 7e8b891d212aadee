//! Which commit holds: the numbers of transactions, and the question that the engine asks.
//!
//! In: what the journal knows, what the brokers have. Out: the number of the next commit, and the
//! answer about one in doubt.
//! Always holds: each attempt has a number of its own. A question is answered once. What the
//! brokers have beyond our own numbers ends the run.

use crate::sink::settle::{Decided, IsStored, Known, Mismatch, Number, decide};

/// What the engine waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// Nothing.
    None,
    /// Whether the commit in doubt was made; without doubt, only that all is offered again.
    Open,
    /// It has to be told.
    Answered(Decided),
}

/// What the brokers have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Has {
    /// The number of the last commit; 0: none.
    pub(super) number: u64,
    /// The number of the last attempt that was made. It is another one after a commit whose offsets
    /// were not stored.
    pub(super) attempt: u64,
}

/// The numbers of one identity.
#[derive(Debug)]
pub(super) struct Numbers {
    /// The last commit that is known to hold; 0: none.
    number: u64,
    /// The greatest that was used here.
    last: u64,
    /// The commit that is under way, or may hold or not.
    doubt: Option<Number>,
    question: Question,
    /// The commit in doubt was begun in this run.
    is_within_run: bool,
    /// What the brokers have although it should be more: they lost it, and it was said.
    lost: Option<u64>,
}

impl Numbers {
    /// What the journal says at the start.
    pub(super) fn new(known: &Known) -> Self {
        let question = match known.doubt {
            Some(_) => Question::Open,
            None => Question::Answered(Decided::NotMade),
        };
        let Known { number, number_last, doubt, .. } = *known;
        let last = doubt.map_or(number, |doubt| doubt.this).max(number).max(number_last);
        Numbers { number, last, doubt, question, is_within_run: false, lost: None }
    }

    /// A commit is under way, or in doubt.
    pub(super) fn is_open(&self) -> bool {
        self.doubt.is_some()
    }

    /// The engine has asked and knows no answer yet.
    pub(super) fn is_asked(&self) -> bool {
        self.question != Question::None
    }

    /// The number under which the next commit is made.
    pub(super) fn begin(&mut self, random: u64) -> Number {
        assert!(self.doubt.is_none(), "one commit after the other");
        let number = Number::next(self.number, self.last, random);
        self.last = number.this;
        self.doubt = Some(number);
        self.is_within_run = true;
        number
    }

    /// The commit was made.
    pub(super) fn settled(&mut self, is_stored: IsStored) {
        if let (Some(doubt), IsStored::Yes) = (self.doubt.take(), is_stored) {
            self.number = doubt.this;
            self.lost = None;
        }
    }

    /// The engine asks.
    pub(super) fn ask(&mut self) {
        if self.question == Question::None {
            self.question = Question::Open;
        }
    }

    /// Nothing is in doubt: all that was accepted is offered again.
    pub(super) fn answer_not_made(&mut self) {
        assert!(self.doubt.is_none(), "the brokers alone decide a commit in doubt");
        self.question = Question::Answered(Decided::NotMade);
    }

    /// What the brokers have. Returns whether they lost some.
    ///
    /// # Errors
    /// When it is none of ours.
    pub(super) fn learn(&mut self, has: Has) -> Result<bool, Mismatch> {
        let Has { number, attempt } = has;
        let decided = match (self.lost, self.doubt) {
            // Its offsets were not stored, so it kept the number before.
            (_, Some(doubt)) if self.is_within_run && attempt == doubt.this => Decided::Made,
            (Some(lost), _) if lost == number => Decided::NotMade,
            _ => decide(number, self.number, self.doubt)?,
        };
        match decided {
            Decided::Made if self.doubt.is_some_and(|doubt| doubt.this == number) => {
                (self.number, self.lost) = (number, None);
            }
            Decided::Made | Decided::NotMade => {}
            Decided::Lost => self.lost = Some(number),
        }
        if self.question == Question::Open {
            self.question = Question::Answered(decided);
        }
        Ok(decided == Decided::Lost)
    }

    /// The answer, once.
    pub(super) fn take_answer(&mut self) -> Option<Decided> {
        let Question::Answered(decided) = self.question else {
            return None;
        };
        self.question = Question::None;
        self.doubt = None;
        Some(decided)
    }

    /// The last commit that is known to hold.
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(number: u64, doubt: Option<Number>) -> Numbers {
        let number_last = doubt.map_or(number, |doubt| doubt.this);
        Numbers::new(&Known { number, number_last, doubt, ..Known::default() })
    }

    /// The brokers have a commit whose offsets were stored.
    fn has(number: u64) -> Has {
        Has { number, attempt: number }
    }

    #[test]
    fn a_start_without_doubt_waits_for_nobody_and_one_with_doubt_for_the_brokers() {
        assert_eq!(numbers(0, None).take_answer(), Some(Decided::NotMade));
        let doubt = Number::next(7, 7, 1);
        let mut asked = numbers(7, Some(doubt));
        assert_eq!(asked.take_answer(), None);
        assert_eq!(asked.learn(has(doubt.this)), Ok(false));
        assert_eq!(asked.take_answer(), Some(Decided::Made));
        assert_eq!(asked.take_answer(), None, "once");
        assert_eq!((asked.number(), asked.is_open()), (doubt.this, false));
        let mut asked = numbers(7, Some(doubt));
        assert_eq!(asked.learn(has(7)), Ok(false));
        assert_eq!(asked.take_answer(), Some(Decided::NotMade));
        assert!(!asked.is_open());
        assert!(asked.begin(1).this > doubt.this, "a number is not used twice");
    }

    #[test]
    fn a_commit_without_its_offsets_keeps_the_number_before_and_is_known_within_the_run() {
        let mut numbers = numbers(0, None);
        numbers.take_answer();
        let first = numbers.begin(1);
        numbers.settled(IsStored::No);
        assert_eq!(numbers.number(), 0);
        let second = numbers.begin(1);
        assert_eq!((second.previous, second.this > first.this), (0, true));
        numbers.ask();
        assert_eq!(numbers.learn(Has { number: 0, attempt: second.this }), Ok(false));
        assert_eq!(numbers.take_answer(), Some(Decided::Made));
        numbers.settled(IsStored::No);
        assert_eq!(numbers.number(), 0);
        let third = numbers.begin(1);
        numbers.ask();
        assert_eq!(numbers.learn(Has { number: 0, attempt: second.this }), Ok(false));
        assert_eq!(numbers.take_answer(), Some(Decided::NotMade));
        let fourth = numbers.begin(1);
        numbers.settled(IsStored::Yes);
        assert_eq!((numbers.number(), fourth.this > third.this), (fourth.this, true));
        let mut restarted = Numbers::new(&Known { doubt: Some(third), ..Known::default() });
        assert_eq!(restarted.learn(Has { number: 0, attempt: third.this }), Ok(false));
        assert_eq!(restarted.take_answer(), Some(Decided::NotMade), "not at a start");
    }

    #[test]
    fn a_number_of_somebody_else_is_an_error_and_a_lost_one_is_said_once() {
        let mut numbers = numbers(0, None);
        numbers.take_answer();
        let first = numbers.begin(1);
        numbers.settled(IsStored::Yes);
        assert!(numbers.learn(has(Number::next(first.this, first.this, 2).this)).is_err());
        assert_eq!(numbers.learn(has(0)), Ok(true));
        assert_eq!(numbers.learn(has(0)), Ok(false), "said already");
        let second = numbers.begin(1);
        numbers.ask();
        assert_eq!(numbers.learn(has(0)), Ok(false));
        assert_eq!(numbers.take_answer(), Some(Decided::NotMade));
        let third = numbers.begin(1);
        numbers.ask();
        assert_eq!((numbers.learn(has(third.this)), third.this > second.this), (Ok(false), true));
        assert_eq!(numbers.take_answer(), Some(Decided::Made));
    }
}
