// SPDX-License-Identifier: Apache-2.0
// The code of Asio and Beast that needs no template, for the whole program (BOOST_ASIO_SEPARATE_COMPILATION).
#include <boost/asio/impl/src.hpp>
#include <boost/asio/ssl/impl/src.hpp>
#include <boost/beast/src.hpp>
