//! The page around the window.

use sha2::{Digest as _, Sha256};

const PAGE: &str = include_str!("../../index.html");

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let index = bits >> (18 - 6 * digit) & 63;
            text.push(if digit > chunk.len() { '=' } else { DIGITS[index as usize] as char });
        }
    }
    text
}

#[test]
fn the_policy_allows_the_page_s_own_script_and_nothing_else_inline() {
    let scripts: Vec<&str> = PAGE
        .match_indices("<script type=\"module\">")
        .filter_map(|(at, tag)| PAGE[at + tag.len()..].split("</script>").next())
        .collect();
    let [script] = scripts[..] else { panic!("one script, not {}", scripts.len()) };
    let hash = format!("'sha256-{}'", base64(&Sha256::digest(script.as_bytes())));
    assert!(PAGE.contains(&hash), "the script has changed: put {hash} into script-src");
    let policy = PAGE.split("script-src").nth(1).and_then(|rest| rest.split(';').next()).expect("a script-src");
    assert!(!policy.contains("'unsafe-inline'") && !policy.contains("'unsafe-eval'"), "{policy}");
    assert!(policy.contains("'wasm-unsafe-eval'"), "WebAssembly needs it: {policy}");
}
