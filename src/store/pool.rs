//! Boxes that are used again, so that what comes and goes all the time is not allocated each time.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// How many boxes are kept for the next time.
const SPARE: usize = 1 << 10;

/// Boxes out of use, with what they held last.
#[derive(Clone)]
#[allow(clippy::vec_box, reason = "the boxes are what is kept")]
pub(crate) struct Pool<T> {
    spare: Vec<Box<T>>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { spare: Vec::new() }
    }
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("spare", &self.spare.len()).finish()
    }
}

impl<T> Pool<T> {
    /// Boxes a value.
    pub(crate) fn put(&mut self, value: T) -> Box<T> {
        match self.spare.pop() {
            Some(mut place) => {
                *place = value;
                place
            }
            None => Box::new(value),
        }
    }

    /// Takes a box back.
    pub(crate) fn recycle(&mut self, place: Box<T>) {
        if self.spare.len() < SPARE {
            self.spare.push(place);
        }
    }
}
