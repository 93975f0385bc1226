#include "status.h"

#include <stdarg.h>
#include <stdio.h>

enum wire_status
wire_error_set(struct wire_error *error, enum wire_status status, const char *format, ...)
{
    if (error->status == WIRE_OK) {
        va_list args;
        va_start(args, format);
        error->status = status;
        (void)vsnprintf(error->text, sizeof(error->text), format, args);
        va_end(args);
    }
    return error->status;
}
