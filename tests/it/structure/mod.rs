//! How the program hangs together: the arrows between its modules, no circles between its files, and rooms of a size
//! that a reader keeps in mind. Reads files, starts nothing.

mod arrows;
mod circles;
mod files;
mod size;
