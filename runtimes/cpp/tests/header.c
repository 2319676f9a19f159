/* The header is C, and its structures have the sizes that bindings in other languages assume. */
#include "eetool_runtime.h"

_Static_assert(sizeof(void*) != 8 || sizeof(ee_model_options) == 48, "ee_model_options");
_Static_assert(sizeof(void*) != 8 || sizeof(ee_tensor) == 40, "ee_tensor");
_Static_assert(sizeof(void*) != 8 || sizeof(ee_image) == 40, "ee_image");
_Static_assert(sizeof(void*) != 8 || sizeof(ee_result) == 80, "ee_result");
_Static_assert(sizeof(void*) != 8 || sizeof(ee_run_options) == 24, "ee_run_options");

int main(void) { return ee_abi_version() >> 16 == EE_ABI_MAJOR ? 0 : 1; }
