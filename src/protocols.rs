//! What each protocol meets when another holds something.
