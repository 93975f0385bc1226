/* THE table: one row per built-in type, sorted by OID (PostgreSQL's pg_type).
 * To add a type: a row here, its two functions in a family file and families.h. */
#include "families.h"
#include "oids.h"

/* TYPE(oid constant, name, family, fixed length): binary, with an array type.
 * PSEUDO: the same in text form and without an array type. TUPLE: a TYPE whose
 * values are, or may be, tuples. OF: a TUPLE with the codec of another row in it.
 * TEXTUAL: a type that travels as text, and its array. */
#define CODEC_TABLE(TYPE, PSEUDO, TUPLE, OF, TEXTUAL)                                              \
    TYPE(BOOL, "bool", bool, 1)                                                                    \
    TYPE(BYTEA, "bytea", bytea, -1)                                                                \
    TYPE(CHAR, "\"char\"", char, 1)                                                                \
    TYPE(NAME, "name", name, -1)                                                                   \
    TYPE(INT8, "int8", int8, 8)                                                                    \
    TYPE(INT2, "int2", int2, 2)                                                                    \
    OF(INT2VECTOR, "int2vector", vector, INT2)                                                     \
    TYPE(INT4, "int4", int4, 4)                                                                    \
    TEXTUAL(REGPROC, "regproc", raw)                                                               \
    TYPE(TEXT, "text", text, -1)                                                                   \
    TYPE(OID, "oid", oid, 4)                                                                       \
    TUPLE(TID, "tid", tid, 6)                                                                      \
    TYPE(XID, "xid", oid, 4)                                                                       \
    TYPE(CID, "cid", oid, 4)                                                                       \
    OF(OIDVECTOR, "oidvector", vector, OID)                                                        \
    TUPLE(JSON, "json", json, -1)                                                                  \
    TYPE(XML, "xml", text, -1)                                                                     \
    TUPLE(POINT, "point", point, 16)                                                               \
    TUPLE(LSEG, "lseg", lseg, 32)                                                                  \
    TUPLE(PATH, "path", path, -1)                                                                  \
    TUPLE(BOX, "box", box, 32)                                                                     \
    TUPLE(POLYGON, "polygon", polygon, -1)                                                         \
    TUPLE(LINE, "line", line, 24)                                                                  \
    TYPE(CIDR, "cidr", cidr, -1)                                                                   \
    TYPE(FLOAT4, "float4", float4, 4)                                                              \
    TYPE(FLOAT8, "float8", float8, 8)                                                              \
    PSEUDO(UNKNOWN, "unknown", raw, -1)                                                            \
    TUPLE(CIRCLE, "circle", circle, 24)                                                            \
    TYPE(MACADDR8, "macaddr8", macaddr, 8)                                                         \
    TYPE(MONEY, "money", money, 8)                                                                 \
    TYPE(MACADDR, "macaddr", macaddr, 6)                                                           \
    TYPE(INET, "inet", inet, -1)                                                                   \
    TEXTUAL(ACLITEM, "aclitem", raw)                                                               \
    TYPE(BPCHAR, "bpchar", text, -1)                                                               \
    TYPE(VARCHAR, "varchar", text, -1)                                                             \
    TYPE(DATE, "date", date, 4)                                                                    \
    TYPE(TIME, "time", time, 8)                                                                    \
    TYPE(TIMESTAMP, "timestamp", timestamp, 8)                                                     \
    TYPE(TIMESTAMPTZ, "timestamptz", timestamptz, 8)                                               \
    TYPE(INTERVAL, "interval", interval, 16)                                                       \
    TYPE(TIMETZ, "timetz", timetz, 12)                                                             \
    TYPE(BIT, "bit", bits, -1)                                                                     \
    TYPE(VARBIT, "varbit", bits, -1)                                                               \
    TYPE(NUMERIC, "numeric", numeric, -1)                                                          \
    TYPE(REFCURSOR, "refcursor", text, -1)                                                         \
    TEXTUAL(REGPROCEDURE, "regprocedure", raw)                                                     \
    TEXTUAL(REGOPER, "regoper", raw)                                                               \
    TEXTUAL(REGOPERATOR, "regoperator", raw)                                                       \
    TEXTUAL(REGCLASS, "regclass", raw)                                                             \
    TEXTUAL(REGTYPE, "regtype", raw)                                                               \
    TUPLE(RECORD, "record", record, -1)                                                            \
    PSEUDO(VOID, "void", raw, -1)                                                                  \
    TYPE(UUID, "uuid", uuid, 16)                                                                   \
    TUPLE(TXID_SNAPSHOT, "txid_snapshot", snapshot, -1)                                            \
    TYPE(PG_LSN, "pg_lsn", lsn, 8)                                                                 \
    TYPE(TSVECTOR, "tsvector", tsvector, -1)                                                       \
    TYPE(TSQUERY, "tsquery", tsquery, -1)                                                          \
    TEXTUAL(REGCONFIG, "regconfig", raw)                                                           \
    TEXTUAL(REGDICTIONARY, "regdictionary", raw)                                                   \
    TUPLE(JSONB, "jsonb", jsonb, -1)                                                               \
    OF(INT4RANGE, "int4range", range, INT4)                                                        \
    OF(NUMRANGE, "numrange", range, NUMERIC)                                                       \
    OF(TSRANGE, "tsrange", range, TIMESTAMP)                                                       \
    OF(TSTZRANGE, "tstzrange", range, TIMESTAMPTZ)                                                 \
    OF(DATERANGE, "daterange", range, DATE)                                                        \
    OF(INT8RANGE, "int8range", range, INT8)                                                        \
    TYPE(JSONPATH, "jsonpath", ltree, -1)                                                          \
    TEXTUAL(REGNAMESPACE, "regnamespace", raw)                                                     \
    TEXTUAL(REGROLE, "regrole", raw)                                                               \
    TEXTUAL(REGCOLLATION, "regcollation", raw)                                                     \
    OF(INT4MULTIRANGE, "int4multirange", multirange, INT4RANGE)                                    \
    OF(NUMMULTIRANGE, "nummultirange", multirange, NUMRANGE)                                       \
    OF(TSMULTIRANGE, "tsmultirange", multirange, TSRANGE)                                          \
    OF(TSTZMULTIRANGE, "tstzmultirange", multirange, TSTZRANGE)                                    \
    OF(DATEMULTIRANGE, "datemultirange", multirange, DATERANGE)                                    \
    OF(INT8MULTIRANGE, "int8multirange", multirange, INT8RANGE)                                    \
    TUPLE(PG_SNAPSHOT, "pg_snapshot", snapshot, -1)                                                \
    TYPE(XID8, "xid8", xid8, 8)

#define NOTHING(...)

/* Where each row stands, so that an array's row can point at its element's. */
#define POSITION(type, type_name, family, len) CODEC_AT_##type,
#define AT(type, type_name, family) CODEC_AT_##type,
enum codec_position { CODEC_TABLE(POSITION, POSITION, POSITION, POSITION, AT) CODEC_SCALARS };

#define BINARY(type, type_name, decoder, encoder, len, is_tuple, part)                             \
    {                                                                                              \
        .oid = OID_##type,                                                                         \
        .array_oid = OID_##type##_ARRAY,                                                           \
        .name = type_name,                                                                         \
        .decode = decoder,                                                                         \
        .encode = encoder,                                                                         \
        .fixed_len = len,                                                                          \
        .tuples = is_tuple,                                                                        \
        .format = WIRE_FORMAT_BINARY,                                                              \
        .elem = part,                                                                              \
    },
#define SCALAR(type, type_name, family, len)                                                       \
    BINARY(type, type_name, codec_##family##_decode, codec_##family##_encode, len, false, NULL)
#define OF_TUPLES(type, type_name, family, len)                                                    \
    BINARY(type, type_name, codec_##family##_decode, codec_##family##_encode, len, true, NULL)
#define MADE_OF(type, type_name, family, part)                                                     \
    BINARY(type, type_name, codec_##family##_decode, codec_##family##_encode, -1, true,            \
           &codec_scalars[CODEC_AT_##part])
#define TEXT_ONLY(type, type_name, family, len)                                                    \
    {                                                                                              \
        .oid = OID_##type,                                                                         \
        .name = type_name,                                                                         \
        .decode = codec_##family##_decode,                                                         \
        .encode = codec_##family##_encode,                                                         \
        .fixed_len = len,                                                                          \
        .format = WIRE_FORMAT_TEXT,                                                                \
    },
#define TEXT_TYPE(type, type_name, family)                                                         \
    {                                                                                              \
        .oid = OID_##type,                                                                         \
        .array_oid = OID_##type##_ARRAY,                                                           \
        .name = type_name,                                                                         \
        .decode = codec_##family##_decode,                                                         \
        .encode = codec_##family##_encode,                                                         \
        .fixed_len = -1,                                                                           \
        .format = WIRE_FORMAT_TEXT,                                                                \
    },
static const struct codec codec_scalars[] = {
    CODEC_TABLE(SCALAR, TEXT_ONLY, OF_TUPLES, MADE_OF, TEXT_TYPE)};

#define ARRAY(type, type_name, family, len)                                                        \
    {                                                                                              \
        .oid = OID_##type##_ARRAY,                                                                 \
        .name = type_name "[]",                                                                    \
        .decode = codec_array_decode,                                                              \
        .encode = codec_array_encode,                                                              \
        .fixed_len = -1,                                                                           \
        .format = WIRE_FORMAT_BINARY,                                                              \
        .elem = &codec_scalars[CODEC_AT_##type],                                                   \
    },
#define TEXT_ARRAY(type, type_name, family)                                                        \
    {                                                                                              \
        .oid = OID_##type##_ARRAY,                                                                 \
        .name = type_name "[]",                                                                    \
        .decode = codec_textarray_decode,                                                          \
        .encode = codec_textarray_encode,                                                          \
        .fixed_len = -1,                                                                           \
        .format = WIRE_FORMAT_TEXT,                                                                \
        .elem = &codec_scalars[CODEC_AT_##type],                                                   \
    },
static const struct codec codec_arrays[] = {CODEC_TABLE(ARRAY, NOTHING, ARRAY, ARRAY, TEXT_ARRAY)};

#define CODEC_ARRAYS (sizeof codec_arrays / sizeof codec_arrays[0])

const struct codec codec_unknown = {
    .name = "a type without a codec",
    .decode = codec_raw_decode,
    .encode = codec_raw_encode,
    .fixed_len = -1,
    .format = WIRE_FORMAT_TEXT,
};

static const struct codec *
codec_find_array(uint32_t oid)
{
    for (size_t i = 0; i < CODEC_ARRAYS; i++) {
        if (codec_arrays[i].oid == oid) {
            return &codec_arrays[i];
        }
    }
    return NULL;
}

const struct codec *
codec_find(uint32_t oid)
{
    size_t low = 0;
    size_t high = CODEC_SCALARS;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (codec_scalars[middle].oid < oid) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    if (low < CODEC_SCALARS && codec_scalars[low].oid == oid) {
        return &codec_scalars[low];
    }
    return codec_find_array(oid);
}

size_t
codec_count(void)
{
    return CODEC_SCALARS + CODEC_ARRAYS;
}

const struct codec *
codec_at(size_t index)
{
    assert(index < codec_count());
    return index < CODEC_SCALARS ? &codec_scalars[index] : &codec_arrays[index - CODEC_SCALARS];
}

bool
codec_is_atomic(const struct codec *codec)
{
    /* A dict, a list, or an object with attributes may be given a reference later. */
    static const codec_decode_fn mutable[] = {
        codec_json_decode,      codec_jsonb_decode, codec_record_decode, codec_hstore_decode,
        codec_sparsevec_decode, codec_path_decode,  codec_inet_decode,   codec_cidr_decode,
    };
    if (codec->elem != NULL || codec->members != NULL || codec->arg != NULL) {
        return false;
    }
    for (size_t i = 0; i < sizeof(mutable) / sizeof(mutable[0]); i++) {
        if (codec->decode == mutable[i]) {
            return false;
        }
    }
    return true;
}
