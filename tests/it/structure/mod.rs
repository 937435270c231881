//! How the program hangs together: between its modules and between its files.

mod files;

use files::Files;

#[test]
fn no_circle_between_files() {
    let files = Files::of_the_program();
    let circles = files.circles();
    for circle in &circles {
        println!("CIRCLE of {}: {circle:?}", circle.len());
        for arrow in files.arrows_among(circle) {
            println!("    {arrow}");
        }
    }
    assert!(circles.is_empty());
}
