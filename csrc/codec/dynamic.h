/* Codecs made at run time: what a database has beyond the built-in types, and what
 * users register. A Python object owns each: _core.Codec(kind, oid, name, elem,
 * members, arg). Kinds and their `arg`:
 *   array, domain   elem: the element's or base type's codec
 *   enum            None: labels are str; or ({label: member}, {member: label})
 *   text, string    (encoder, decoder), either may be None: str ↔ value; `string`
 *                   where the binary form of the type is its text
 *   binary          (encoder, decoder): bytes ↔ value
 *   unknown         text both ways, as for a type that nothing is known of */
#ifndef CODEC_DYNAMIC_H
#define CODEC_DYNAMIC_H

#include "codec.h"

/* Makes the type: a new reference, NULL with an exception.
 */
PyTypeObject *codec_object_type_new(PyObject *module);

/* The codec in a Codec object: lives as long as the object. NULL with a TypeError
 * for anything else. */
const struct codec *codec_object_borrow(PyTypeObject *codec_type, PyObject *object);

/* The names of all kinds: a new list. */
PyObject *codec_kinds(void);

#endif
