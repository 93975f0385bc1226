/* PostgreSQL's binary numeric (base-10000 digits) ↔ decimal text. */
#ifndef WIRE_NUMERIC_H
#define WIRE_NUMERIC_H

#include "buffer.h"

/* Appends the text of a binary numeric to `out`, with exactly its display scale
 * ("-12.3400", "NaN", "Infinity", "-Infinity"). False: the body is not a valid
 * numeric (count against length, digits over 9999, unknown sign, scale over
 * 16383, a first digit behind the last one that any scale can show). Digits
 * behind the scale are cut off, as the server does. Memory used is bounded by the
 * server's limit of 131072 + 16383 digits; no memory is out->failed, not false. */
WIRE_MUSTCHECK bool wire_numeric_to_text(wire_slice value, struct wire_buffer *out);

/* Appends the binary form of decimal text: sign, digits, point, exponent (what
 * str() of an int or Decimal gives), "NaN", "Infinity", "-Infinity" (or "inf"),
 * any case. The scale sent is the number of digits behind the point that the text
 * spells ("1.10" → 2, "1E+3" → 0). False, and nothing appended: not such a text,
 * or beyond the limits (131072 digits before, 16383 behind the point). */
WIRE_MUSTCHECK bool wire_numeric_from_text(const char *text, size_t len, struct wire_buffer *out);

#endif
