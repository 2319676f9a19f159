//! The native runtime for Rust: the C interface of eetool_runtime.h, and types that free themselves. It needs no crate.

use std::ffi::{CStr, CString};
use std::fmt;
use std::marker::{PhantomData, PhantomPinned};
use std::mem::size_of;
use std::os::raw::{c_char, c_double, c_float};
use std::ptr;

/// Declarations of eetool_runtime.h, version 1.0 of the interface.
mod c {
    use super::{c_char, c_double, c_float, PhantomData, PhantomPinned};

    macro_rules! opaque {
        ($($name:ident)*) => {$(
            #[repr(C)]
            pub struct $name {
                _data: [u8; 0],
                _marker: PhantomData<(*mut u8, PhantomPinned)>,
            }
        )*};
    }
    opaque!(Model Session Error);

    #[repr(C)]
    pub struct Image {
        pub struct_size: usize,
        pub pixels: *const u8,
        pub size_bytes: usize,
        pub height: i32,
        pub width: i32,
        pub channels: i32,
        pub row_bytes: i32,
    }

    #[repr(C)]
    pub struct RunOptions {
        pub struct_size: usize,
        pub deadline_ms: c_double,
        pub min_exit: i32,
        pub reserved: i32,
    }

    #[repr(C)]
    pub struct Result {
        pub struct_size: usize,
        pub exit: i32,
        pub label_index: i32,
        pub label: *const c_char,
        pub logits: *const c_float,
        pub classes: usize,
        pub confidence: c_double,
        pub temperature: c_double,
        pub latency_ms: c_double,
        pub macs: u64,
        pub gated: i32,
        pub late: i32,
    }

    extern "C" {
        pub fn ee_abi_version() -> u32;
        pub fn ee_error_message(error: *const Error) -> *const c_char;
        pub fn ee_error_hint(error: *const Error) -> *const c_char;
        pub fn ee_error_free(error: *mut Error);
        pub fn ee_free(text: *mut c_char);
        pub fn ee_model_open(
            path: *const c_char,
            options: *const u8,
            model: *mut *mut Model,
            error: *mut *mut Error,
        ) -> i32;
        pub fn ee_model_close(model: *mut Model);
        pub fn ee_model_use(model: *mut Model, point: *const c_char, watch: *const u8, error: *mut *mut Error) -> i32;
        pub fn ee_model_stats_json(model: *mut Model, text: *mut *mut c_char, error: *mut *mut Error) -> i32;
        pub fn ee_session_new(model: *mut Model, session: *mut *mut Session, error: *mut *mut Error) -> i32;
        pub fn ee_session_free(session: *mut Session);
        pub fn ee_session_pixels(
            session: *mut Session,
            name: *const c_char,
            image: *const Image,
            error: *mut *mut Error,
        ) -> i32;
        pub fn ee_session_run(
            session: *mut Session,
            options: *const RunOptions,
            result: *mut Result,
            error: *mut *mut Error,
        ) -> i32;
    }
}

/// What a function of the C interface refused; `status` is one of the EE_ERROR_* numbers.
#[derive(Debug)]
pub struct Error {
    pub status: i32,
    pub message: String,
    pub hint: Option<String>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n{hint}"))
    }
}

impl std::error::Error for Error {}

/// Copy a text of the library, or return None for NULL.
fn text(pointer: *const c_char) -> Option<String> {
    // SAFETY: texts of the library are NULL or end with a null byte.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

/// Call a function with a place for its error.
fn check(call: impl FnOnce(*mut *mut c::Error) -> i32) -> Result<(), Error> {
    let mut error = ptr::null_mut();
    let status = call(&mut error);
    if status == 0 {
        return Ok(());
    }
    // SAFETY: the object of a failed call is valid until it is freed here.
    let refused = unsafe {
        Error {
            status,
            message: text(c::ee_error_message(error)).unwrap_or_default(),
            hint: text(c::ee_error_hint(error)),
        }
    };
    unsafe { c::ee_error_free(error) };
    Err(refused)
}

fn c_string(value: &str) -> Result<CString, Error> {
    CString::new(value).map_err(|_| Error {
        status: 2,
        message: "a text holds a null byte".into(),
        hint: None,
    })
}

/// A loaded bundle, which threads may share.
pub struct Model(*mut c::Model);

// SAFETY: the library allows calls on a model from many threads at once.
unsafe impl Send for Model {}
unsafe impl Sync for Model {}

impl Model {
    pub fn open(path: &str) -> Result<Model, Error> {
        assert_eq!(
            unsafe { c::ee_abi_version() } >> 16,
            1,
            "another version of the interface"
        );
        let path = c_string(path)?;
        let mut model = ptr::null_mut();
        check(|error| unsafe { c::ee_model_open(path.as_ptr(), ptr::null(), &mut model, error) })?;
        Ok(Model(model))
    }

    /// Select an operating point of the bundle.
    pub fn select(&self, operating_point: &str) -> Result<(), Error> {
        let point = c_string(operating_point)?;
        check(|error| unsafe { c::ee_model_use(self.0, point.as_ptr(), ptr::null(), error) })
    }

    /// Statistics as JSON.
    pub fn stats_json(&self) -> Result<String, Error> {
        let mut made = ptr::null_mut();
        check(|error| unsafe { c::ee_model_stats_json(self.0, &mut made, error) })?;
        let copied = text(made).unwrap_or_default();
        unsafe { c::ee_free(made) };
        Ok(copied)
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        unsafe { c::ee_model_close(self.0) }
    }
}

/// Prediction for one input.
pub struct Prediction {
    pub exit: i32,
    pub label: String,
    pub logits: Vec<f32>,
    pub confidence: f64,
    pub latency_ms: f64,
    pub gated: bool,
}

/// Calls of a model, for one thread at a time.
pub struct Session<'a> {
    session: *mut c::Session,
    _model: PhantomData<&'a Model>,
}

// SAFETY: a session may move to another thread; `&mut self` keeps its calls apart.
unsafe impl Send for Session<'_> {}

impl Session<'_> {
    pub fn new(model: &Model) -> Result<Session<'_>, Error> {
        let mut session = ptr::null_mut();
        check(|error| unsafe { c::ee_session_new(model.0, &mut session, error) })?;
        Ok(Session {
            session,
            _model: PhantomData,
        })
    }

    /// Set the only input from pixels (height, width, channels).
    pub fn pixels(&mut self, pixels: &[u8], size: (i32, i32, i32)) -> Result<(), Error> {
        let image = c::Image {
            struct_size: size_of::<c::Image>(),
            pixels: pixels.as_ptr(),
            size_bytes: pixels.len(),
            height: size.0,
            width: size.1,
            channels: size.2,
            row_bytes: 0,
        };
        check(|error| unsafe { c::ee_session_pixels(self.session, ptr::null(), &image, error) })
    }

    /// Run the input that is set. A deadline of 0 is none.
    pub fn run(&mut self, deadline_ms: f64) -> Result<Prediction, Error> {
        let struct_size = size_of::<c::RunOptions>();
        let options = c::RunOptions {
            struct_size,
            deadline_ms,
            min_exit: 0,
            reserved: 0,
        };
        // SAFETY: every field of the structure may be zero.
        let mut result: c::Result = unsafe { std::mem::zeroed() };
        result.struct_size = size_of::<c::Result>();
        check(|error| unsafe { c::ee_session_run(self.session, &options, &mut result, error) })?;
        Ok(Prediction {
            exit: result.exit,
            label: text(result.label).unwrap_or_default(),
            // SAFETY: the logits belong to the session until its next call.
            logits: unsafe { std::slice::from_raw_parts(result.logits, result.classes) }.to_vec(),
            confidence: result.confidence,
            latency_ms: result.latency_ms,
            gated: result.gated != 0,
        })
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        unsafe { c::ee_session_free(self.session) }
    }
}
