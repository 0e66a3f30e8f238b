#ifndef MARTLET_CLIBXML2_H
#define MARTLET_CLIBXML2_H

#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <libxml/dict.h>
#include <libxml/xmlerror.h>

/// XML_SAX2_MAGIC is a macro that Swift cannot import (it exceeds a signed int).
static inline unsigned int martlet_sax2_magic(void) { return XML_SAX2_MAGIC; }

#endif
