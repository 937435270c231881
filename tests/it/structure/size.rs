//! A file is read in one sitting.

use crate::sources::{code_of, read, root, source_files};

const LOGIC_LINES_MAX: usize = 600;

/// Lines that are neither blank, nor comments, nor tests.
fn lines_of_logic(text: &str) -> usize {
    code_of(text).lines().filter(|line| !line.trim().is_empty()).count()
}

#[test]
fn no_file_holds_more_than_can_be_kept_in_mind() {
    let source = root().join("src");
    let mut larger = vec![];
    // What was generated is read by nobody.
    let written = source_files().into_iter().filter(|path| !read(path).starts_with("// This file is @generated"));
    for path in written {
        let name = path.strip_prefix(&source).expect("a file in src").display().to_string();
        let lines = lines_of_logic(&read(&path));
        if lines > LOGIC_LINES_MAX {
            larger.push(format!("{name}: {lines} lines of logic, {LOGIC_LINES_MAX} at most"));
        }
    }
    assert_eq!(larger, Vec::<String>::new());
    assert_eq!(lines_of_logic("// a\n\nfn f() {\n    g(); // b\n}\n#[cfg(test)]\nmod tests {\n    fn t() {}\n}\n"), 3);
}
