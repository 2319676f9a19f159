// Where to link: EETOOL_LIBRARY_DIR, or where the system finds libraries.
fn main() {
    println!("cargo:rerun-if-env-changed=EETOOL_LIBRARY_DIR");
    if let Ok(folder) = std::env::var("EETOOL_LIBRARY_DIR") {
        println!("cargo:rustc-link-search=native={folder}");
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }
    println!("cargo:rustc-link-lib=dylib=eetool_runtime");
}
