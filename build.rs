//! The migrations in `schema/` and the built console are compiled in; a new file there has to be seen.

fn main() {
    println!("cargo:rerun-if-changed=schema");
    println!("cargo:rerun-if-changed=src/console/dist");
}
