//! The words of one line. What nobody asked for is an error, so nothing that is written goes unread.

use std::collections::VecDeque;

/// The words of a line that were not read yet.
pub(crate) struct Words<'a>(VecDeque<&'a str>);

impl<'a> Words<'a> {
    pub(crate) fn new(line: &'a str) -> Self {
        Self(line.split_whitespace().collect())
    }

    /// `@10` at the head of the line.
    pub(crate) fn time(&mut self) -> Result<Option<u64>, String> {
        let Some(digits) = self.0.front().and_then(|word| word.strip_prefix('@')) else { return Ok(None) };
        let time = digits.parse().map_err(|_| format!("a time is @ and milliseconds, not @{digits}"))?;
        self.0.pop_front();
        Ok(Some(time))
    }

    /// The next word, whatever it is.
    pub(crate) fn next(&mut self, what: &str) -> Result<&'a str, String> {
        self.0.pop_front().ok_or_else(|| format!("{what} is missing"))
    }

    /// The next word, if it is one of these.
    pub(crate) fn next_if(&mut self, which: impl FnOnce(&str) -> bool) -> Option<&'a str> {
        let word = self.0.front().copied().filter(|word| which(word))?;
        self.0.pop_front();
        Some(word)
    }

    /// Whether the word behind the next is one of these.
    pub(crate) fn after_next(&self, which: impl FnOnce(&str) -> bool) -> bool {
        self.0.get(1).copied().is_some_and(which)
    }

    /// The value of `name=value`, wherever it stands.
    pub(crate) fn value(&mut self, name: &str) -> Result<Option<&'a str>, String> {
        let value = |word: &'a str| word.strip_prefix(name)?.strip_prefix('=');
        let found: Vec<&'a str> = self.0.iter().filter_map(|word| value(word)).collect();
        self.0.retain(|word| value(word).is_none());
        match found.as_slice() {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            [_, _, ..] => Err(format!("{name}= is there twice")),
        }
    }

    /// The value of `name=value`, which has to be there.
    pub(crate) fn required(&mut self, name: &str) -> Result<&'a str, String> {
        self.value(name)?.ok_or_else(|| format!("{name}= is missing"))
    }

    /// The value of `name=value`, read by `read`.
    pub(crate) fn read<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&'a str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        self.value(name)?.map(read).transpose()
    }

    /// Whether this word is there, wherever it stands. A second one of its kind stays, and is unknown.
    pub(crate) fn has(&mut self, word: &str) -> bool {
        let at = self.0.iter().position(|other| *other == word);
        at.and_then(|at| self.0.remove(at)).is_some()
    }

    /// All words that are left.
    pub(crate) fn rest(&mut self) -> impl Iterator<Item = &'a str> + use<'a> {
        std::mem::take(&mut self.0).into_iter()
    }

    /// The end of the line: nothing is left.
    pub(crate) fn end(mut self) -> Result<(), String> {
        match self.0.pop_front() {
            None => Ok(()),
            Some(word) => Err(format!("unknown word: {word}")),
        }
    }
}
