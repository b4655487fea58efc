/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which build a program is of: 16 hexadecimal digits, over all sources, the version, the compiler and its flags. What
 * runs tells it, and `uvctl`, which is always the newest code, finds what runs other code than itself. The Makefile
 * makes it for the programs that have somebody to tell. */

#define ULV_BUILD_LEN 16

extern const char ulv_build[ULV_BUILD_LEN + 1];
