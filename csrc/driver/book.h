/* The codecs of one connection beyond the built-in ones: types that were looked up
 * in the catalog, and those that the user registered, which may stand in front of
 * built-in ones. */
#ifndef DRIVER_BOOK_H
#define DRIVER_BOOK_H

#include "module.h"

struct codec_book {
    PyTypeObject *codec_type;
    PyObject *by_oid;   /* {int: Codec}, NULL while there is none */
    PyObject *retired;  /* Codecs taken out, which a decoder may still be using */
    unsigned long age;  /* from 1; counts changes that make a statement's codecs stale */
};

/* An empty book. */
void book_init(struct codec_book *book, PyTypeObject *codec_type);

/* For tp_traverse and tp_clear of its owner. */
int book_traverse(struct codec_book *book, visitproc visit, void *arg);
/* Drops everything. */
void book_clear(struct codec_book *book);

/* The codec of a type, or NULL without an exception. `*object` becomes the Codec
 * object it lives in (borrowed), NULL for a built-in one. */
const struct codec *book_find_borrow(struct codec_book *book, uint32_t oid, PyObject **object);

/* Adds a Codec under its own OID, in front of any other. -1 with an exception. */
int book_put(struct codec_book *book, PyObject *codec);

/* Takes out all of them. -1 with an exception. */
int book_drop_all(struct codec_book *book);

/* Lets go of what was taken out; when no codec is at work. */
void book_settle(struct codec_book *book);

#endif
