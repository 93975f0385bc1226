#include "quick.h"

#include "families.h"

enum codec_quick
codec_quick_of(const struct codec *codec)
{
    static const struct {
        codec_encode_fn encode;
        enum codec_quick quick;
    } known[] = {
        {codec_int2_encode, CODEC_QUICK_INT2}, {codec_int4_encode, CODEC_QUICK_INT4},
        {codec_int8_encode, CODEC_QUICK_INT8}, {codec_float8_encode, CODEC_QUICK_FLOAT8},
        {codec_text_encode, CODEC_QUICK_TEXT},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (known[i].encode == codec->encode) {
            return known[i].quick;
        }
    }
    return CODEC_QUICK_NONE;
}
