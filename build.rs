//! The migrations in `schema/` are compiled in; a new file there has to be seen.

fn main() {
    println!("cargo:rerun-if-changed=schema");
}
