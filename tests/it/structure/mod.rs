//! How the program hangs together: the arrows between its modules, no circles between its files, rooms of a size
//! that a reader keeps in mind, and errors that keep their causes. Reads files, starts nothing.

mod arrows;
mod builds;
mod circles;
mod errors;
mod files;
mod size;
