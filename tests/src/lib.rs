//! Holds nothing: the tests are in `tests/`, one folder a subject.
