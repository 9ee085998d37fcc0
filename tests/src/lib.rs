//! Holds nothing: the tests are in `tests/`, one folder a subject, and the programs that they start in `src/bin/`.
