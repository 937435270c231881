//! Arguments of the program.
